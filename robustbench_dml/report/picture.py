"""The picture of one attack: the image before and after, and the ranked list of the attacked query."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from torch import Tensor

from robustbench_dml.datasets.base import Split
from robustbench_dml.evaluation.trace import AttackTrace, Ranking
from robustbench_dml.report.figures.style import STYLES, drawable
from robustbench_dml.report.figures.write import METADATA, drawn_in
from robustbench_dml.report.tables import cell
from robustbench_dml.runs.attack_one import AttackedImage
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import write_atomically
from robustbench_dml.utils.terminal import text_table

SUFFIXES = (".png", ".svg")
RIGHT, WRONG, FOLLOWED, QUIET = "#009E73", "#D55E00", "#0072B2", "#666666"  # colours of Okabe and Ito, and grey
WIDTH, HEIGHT = 11.0, 7.0  # inches
LEFT = 0.032  # left edge, as a share of the width
NOTE: dict[str, Any] = {"fontsize": 7.5, "color": QUIET}


def check_picture(path: Path) -> None:
    """Refuse a file that cannot be written, before anything is computed.

    Raises:
        RbdmlError: not PNG or SVG, or the folder does not exist.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise RbdmlError(f"{path}: pictures are written as {' or '.join(SUFFIXES)}: give --out such a name")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise RbdmlError(f"{path}: cannot be written: name a file in a folder that exists")


def write_picture(path: Path, trace: AttackTrace, split: Split, *, caption: str) -> None:
    """Draw one attack as PNG or SVG. The same values give the same bytes.

    Args:
        path: the file to write; its suffix sets the format.
        trace: the attack.
        split: test images of the ranked list.
        caption: settings, in one line.

    Raises:
        RbdmlError: the file cannot be written.
    """
    check_picture(path)
    kind = path.suffix.lower()[1:]
    with drawn_in(STYLES["screen"]), mpl.rc_context({"axes.grid": False}):
        figure = draw_picture(trace, split, caption=caption)
        try:
            write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=150, metadata=METADATA[kind]))
        except OSError as error:
            raise RbdmlError(f"{path}: cannot be written ({error.strerror}): name another --out") from None


def draw_picture(trace: AttackTrace, split: Split, *, caption: str) -> Figure:
    """Return the figure of `write_picture`."""
    figure = Figure(figsize=(WIDTH, HEIGHT))
    FigureCanvasAgg(figure)
    candidate = trace.info.cls.of_candidate
    attacked = f"the {'candidate' if candidate else 'query'} is image {trace.row}, class {trace.labels[trace.row]}"
    figure.text(LEFT, 0.945, ", ".join(trace.values), fontsize=15, fontweight="bold")
    figure.text(LEFT, 0.91, f"{trace.info.summary}; {attacked}", fontsize=9, color=QUIET)
    _draw_images(figure, trace, split)
    for top, ranking, image, name in (
        (0.5, trace.before, trace.images[0], "before"),
        (0.255, trace.after, trace.images[1], "after"),
    ):
        owner = "the target's list" if candidate else "the query's list"
        figure.text(LEFT, top + 0.043, f"{owner} {name}", fontsize=9.5, fontweight="bold")
        figure.text(LEFT + 0.18, top + 0.043, f"\u2713 of the class of image {trace.query}, \u2717 of another", **NOTE)
        _draw_list(figure, trace, split, ranking, image, top)
    figure.text(LEFT, 0.024, "\n".join(wrap(drawable(caption), 170)), **NOTE)
    return figure


def magnification(trace: AttackTrace) -> float:
    """Return the factor by which the perturbation is magnified: its largest change just fits; 0 if there is none."""
    return 0.5 / trace.largest_change if trace.largest_change > 0 else 0.0


def _draw_images(figure: Figure, trace: AttackTrace, split: Split) -> None:
    """Draw the image before and after, the perturbation and the first target, then the values."""
    before, after = trace.images
    times = magnification(trace)
    shown: list[tuple[str, str, Tensor]] = [
        ("before", "", before),
        ("after", f"largest change {trace.largest_change * 255:.3g}/255", after),
        (
            f"perturbation \u00d7 {times:.3g}" if times else "no perturbation",
            f"L2 length {trace.length:.3g}; grey is 0",
            (0.5 + times * (after - before)).clamp(0, 1),
        ),
    ]
    for row in trace.targets[:1]:
        several = f" (1st of {len(trace.targets)})" if len(trace.targets) > 1 else ""
        role = "target, a query" if trace.info.cls.of_candidate else "target"
        shown.append((f"{role}{several}", f"image {row}, class {trace.labels[row]}", _pixels(split, row)))
    grid = figure.add_gridspec(1, 5, left=LEFT, right=0.87, bottom=0.61, top=0.86, wspace=0.14)
    for place, (title, below, pixels) in enumerate(shown):
        axes = _draw_image(figure, grid[place], pixels)
        axes.set_title(title, fontsize=9.5, pad=4)
        axes.set_xlabel(below, fontsize=8, color=QUIET, labelpad=3)
    left = grid[len(shown)].get_position(figure).x0
    for place, (value, meaning, colour) in enumerate(_values(trace)):
        bottom = 0.835 - 0.07 * place
        size = 12 if len(value) < 22 else 9.5
        figure.text(left, bottom, value, fontsize=size, fontweight="bold", color=colour)
        figure.text(left, bottom - 0.027, meaning, **NOTE)


def _values(trace: AttackTrace) -> list[tuple[str, str, str]]:
    """The columns, the rank of the followed image and the distance, each with its meaning and colour."""
    meanings = {column.name: column.meaning for column in trace.info.columns}
    lines = [
        (f"{name}  {cell(name, old)} \u2192 {cell(name, new)}", meanings[name], "black")
        for name, (old, new) in trace.values.items()
    ]
    for row in trace.followed[:1]:
        target = "the target" if len(trace.targets) == 1 else "the first target"
        image = "the candidate" if trace.info.cls.of_candidate else target
        ranks = f"\u25c6 {trace.before.places[row]:,} \u2192 {trace.after.places[row]:,}"
        lines.append((ranks, f"place of {image} in the list, of {trace.competitors:,}", FOLLOWED))
    if not any(new == trace.moved for _, new in trace.values.values()):
        lines.append((f"{trace.moved:.3f}", "how far the embedding moved, of at most 2", "black"))
    return lines


def _draw_list(
    figure: Figure, trace: AttackTrace, split: Split, ranking: Ranking, attacked: Tensor, top: float
) -> None:
    """Draw the top of a ranked list, and the first followed image if it is further down."""
    behind = [row for row in trace.followed[:1] if row not in ranking.top]
    places = dict(enumerate(ranking.top, start=1)) | {ranking.places[row]: row for row in behind}
    ratios = [1] * len(ranking.top) + [1.4]
    grid = figure.add_gridspec(1, len(ratios), left=LEFT, right=0.98, bottom=top - 0.13, top=top, width_ratios=ratios)
    for column, (rank, row) in enumerate(places.items()):
        axes = _draw_image(figure, grid[column], attacked if row == trace.row else _pixels(split, row))
        colour, mark = (RIGHT, "\u2713") if trace.right(row) else (WRONG, "\u2717")
        axes.spines[:].set(visible=True, color=colour, linewidth=2.5)
        axes.set_xlabel(f"{mark} class {trace.labels[row]}", fontsize=8, color=colour, labelpad=3)
        axes.set_title(f"{rank:,}", fontsize=8, pad=3)
        if row in trace.followed:
            axes.set_title(f"\u25c6 {rank:,}", fontsize=8, pad=3, color=FOLLOWED, fontweight="bold")
        if row in behind:
            axes.set_anchor("E")
            axes.annotate("\u2026", (-0.12, 0.5), xycoords="axes fraction", ha="right", fontsize=16, color=QUIET)


def _draw_image(figure: Figure, cell: SubplotSpec, image: Tensor) -> Axes:
    """Draw a (C, H, W) image in [0, 1] in a square."""
    axes = figure.add_subplot(cell, anchor="W", xticks=[], yticks=[])
    pixels = image.permute(1, 2, 0).numpy()
    axes.imshow(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
    return axes


def _pixels(split: Split, row: int) -> Tensor:
    """(C, H, W) pixels of a test image, in [0, 1]."""
    return split.batch(torch.tensor([row], device=split.labels.device))[0].cpu()


def values_of(attacked: AttackedImage) -> dict[str, Any]:
    """Return the result of an attack as plain data for JSON."""
    trace = attacked.trace
    return {
        "attack": trace.info.name,
        "dataset": attacked.dataset,
        "model": attacked.label,
        "weights": attacked.weights,
        "commit": attacked.commit,
        "evaluation": attacked.evaluation.model_dump(mode="json"),
        "image": trace.row,
        "class": trace.labels[trace.row],
        "targets": [{"image": row, "class": trace.labels[row]} for row in trace.targets],
        "list of": trace.query,
        "competitors": trace.competitors,
        "places": [
            {"image": row, "before": trace.before.places[row], "after": trace.after.places[row]}
            for row in trace.followed
        ],
        "top before": list(trace.before.top),
        "top after": list(trace.after.top),
        "values": {name: {"before": old, "after": new} for name, (old, new) in trace.values.items()},
        "largest change": trace.largest_change,
        "L2 length": trace.length,
        "moved": trace.moved,
    }


def values_text(attacked: AttackedImage) -> str:
    """Return the result of an attack as text: a title, a table and the settings."""
    trace = attacked.trace
    rows = [{"value": name, "before": f"{old:.3f}", "after": f"{new:.3f}"} for name, (old, new) in trace.values.items()]
    rows += [
        {
            "value": f"place of image {row} in the list of {trace.query}",
            "before": f"{trace.before.places[row]}",
            "after": f"{trace.after.places[row]}",
        }
        for row in trace.followed
    ]
    return "\n\n".join(
        [
            f"{trace.info.name} on image {trace.row} of {attacked.dataset}, class {trace.labels[trace.row]}",
            text_table(rows),
            f"largest change {trace.largest_change * 255:.3g}/255, L2 length {trace.length:.3g}, "
            f"embedding moved by {trace.moved:.3f} of at most 2",
            attacked.caption,
        ]
    )
