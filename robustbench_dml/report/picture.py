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
from torch import Tensor

from robustbench_dml.datasets.base import Split
from robustbench_dml.evaluation.trace import AttackTrace, Ranking
from robustbench_dml.report.figures.style import STYLES
from robustbench_dml.report.figures.write import METADATA
from robustbench_dml.report.tables import cell
from robustbench_dml.runs.attack_one import AttackedImage
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import write_atomically
from robustbench_dml.utils.terminal import text_table

SUFFIXES = (".png", ".svg")
RIGHT, WRONG, FOLLOWED, QUIET = "#009E73", "#D55E00", "#0072B2", "#666666"  # colours of Okabe and Ito, and grey
# In inches.
WIDTH, HEIGHT, MARGIN = 11.0, 7.0, 0.35
LARGE, SMALL, GAP = 1.75, 0.92, 0.1
TOP_ROW, BEFORE_ROW, AFTER_ROW = 4.28, 2.57, 0.85  # lower edges
TARGETS = 1  # targets shown in large
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
    with (
        mpl.rc_context(mpl.rcParamsDefault),
        mpl.rc_context({**STYLES["screen"].rc, "axes.grid": False, "font.size": 9}),
    ):
        figure = draw_picture(trace, split, caption=caption)
        try:
            write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=150, metadata=METADATA[kind]))
        except OSError as error:
            raise RbdmlError(f"{path}: cannot be written ({error.strerror}): name another --out") from None


def draw_picture(trace: AttackTrace, split: Split, *, caption: str) -> Figure:
    """Return the figure of `write_picture`."""
    page = _Page(trace, split)
    page.draw_title()
    page.draw_images()
    page.draw_list(trace.before, trace.images[0], BEFORE_ROW, "before")
    page.draw_list(trace.after, trace.images[1], AFTER_ROW, "after")
    for line, words in enumerate(reversed(wrap(caption, 170))):
        page.text(MARGIN, 0.17 + 0.14 * line, words, **NOTE)
    return page.figure


def magnification(trace: AttackTrace) -> float:
    """Return the factor by which the perturbation is magnified: its largest change just fits; 0 if there is none."""
    return 0.5 / trace.largest_change if trace.largest_change > 0 else 0.0


class _Page:
    """A figure of an attack, laid out in inches from its lower left corner."""

    def __init__(self, trace: AttackTrace, split: Split) -> None:
        self.trace, self.split = trace, split
        self.figure = Figure(figsize=(WIDTH, HEIGHT))
        FigureCanvasAgg(self.figure)

    def text(self, left: float, bottom: float, text: str, **style: Any) -> None:
        self.figure.text(left / WIDTH, bottom / HEIGHT, text, **style)

    def draw_title(self) -> None:
        trace = self.trace
        attacked = "the candidate" if trace.info.cls.of_candidate else "the query"
        self.text(MARGIN, HEIGHT - 0.38, ", ".join(trace.values), fontsize=15, fontweight="bold")
        summary = f"{trace.info.summary}; {attacked} is image {trace.row}, class {trace.labels[trace.row]}"
        self.text(MARGIN, HEIGHT - 0.62, summary, fontsize=9, color=QUIET)

    def draw_images(self) -> None:
        """Draw the image before and after, the perturbation and the targets, then the values."""
        trace = self.trace
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
        for row in trace.targets[:TARGETS]:
            several = f" (1st of {len(trace.targets)})" if len(trace.targets) > 1 else ""
            role = "target, a query" if trace.info.cls.of_candidate else "target"
            shown.append((f"{role}{several}", f"image {row}, class {trace.labels[row]}", self._pixels(row)))
        left = MARGIN
        for title, below, pixels in shown:
            axes = self._image(pixels, left, TOP_ROW, LARGE)
            axes.set_title(title, fontsize=9.5, pad=4)
            axes.set_xlabel(below, fontsize=8, color=QUIET, labelpad=3)
            left += LARGE + 2.5 * GAP
        self._draw_values(left + GAP)

    def draw_list(self, ranking: Ranking, attacked: Tensor, bottom: float, name: str) -> None:
        """Draw the top of a ranked list, and the first followed image if it is further down."""
        trace = self.trace
        owner = "the target's list" if trace.info.cls.of_candidate else "the query's list"
        self.text(MARGIN, bottom + SMALL + 0.3, f"{owner} {name}", fontsize=9.5, fontweight="bold")
        legend = f"\u2713 of the class of image {trace.query}, \u2717 of another"
        self.text(MARGIN + 2, bottom + SMALL + 0.3, legend, **NOTE)
        left = MARGIN
        for rank, row in enumerate(ranking.top, start=1):
            self._draw_thumb(row, rank, attacked, left, bottom)
            left += SMALL + GAP
        for row in [row for row in trace.followed[:1] if row not in ranking.top]:
            self.text(left + 0.08, bottom + SMALL / 2, "\u2026", fontsize=16, color=QUIET)
            self._draw_thumb(row, ranking.places[row], attacked, left + 0.42, bottom)

    def _draw_values(self, left: float) -> None:
        """Write the columns, the rank of the followed image and the distance, each with its meaning."""
        trace = self.trace
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
        bottom = TOP_ROW + LARGE - 0.2
        for value, meaning, colour in lines:
            size = 12 if len(value) < 22 else 9.5
            self.text(left, bottom, value, fontsize=size, fontweight="bold", color=colour)
            self.text(left, bottom - 0.19, meaning, **NOTE)
            bottom -= 0.5

    def _draw_thumb(self, row: int, rank: int, attacked: Tensor, left: float, bottom: float) -> None:
        trace = self.trace
        axes = self._image(attacked if row == trace.row else self._pixels(row), left, bottom, SMALL)
        colour, mark = (RIGHT, "\u2713") if trace.right(row) else (WRONG, "\u2717")
        for spine in axes.spines.values():
            spine.set(visible=True, color=colour, linewidth=2.5)
        if row in trace.followed:
            axes.set_title(f"\u25c6 {rank:,}", fontsize=8, pad=3, color=FOLLOWED, fontweight="bold")
        else:
            axes.set_title(f"{rank:,}", fontsize=8, pad=3)
        axes.set_xlabel(f"{mark} class {trace.labels[row]}", fontsize=8, color=colour, labelpad=3)

    def _image(self, image: Tensor, left: float, bottom: float, side: float) -> Axes:
        """Draw a (C, H, W) image in [0, 1] in a square."""
        axes = self.figure.add_axes((left / WIDTH, bottom / HEIGHT, side / WIDTH, side / HEIGHT))
        pixels = image.permute(1, 2, 0).numpy()
        axes.imshow(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[], anchor="C")
        return axes

    def _pixels(self, row: int) -> Tensor:
        """(C, H, W) pixels of a test image, in [0, 1]."""
        return self.split.batch(torch.tensor([row], device=self.split.labels.device))[0].cpu()


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
