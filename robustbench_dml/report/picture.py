"""The picture of one attack: the image, what was done to it, and the list that it was done for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
from robustbench_dml.report.tables import decimals
from robustbench_dml.runs.attack_one import AttackedImage
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import write_atomically
from robustbench_dml.utils.terminal import text_table

SUFFIXES = (".png", ".svg")
RIGHT, WRONG, FOLLOWED, QUIET = "#009E73", "#D55E00", "#0072B2", "#666666"  # Okabe and Ito's; grey
# In inches.
WIDTH, HEIGHT, MARGIN = 11.0, 7.0, 0.35
LARGE, SMALL, GAP = 1.75, 0.92, 0.1
TOP_ROW, BEFORE_ROW, AFTER_ROW = 4.28, 2.57, 0.85  # lower edges
TARGETS = 1  # as many are shown large
NOTE: dict[str, Any] = {"fontsize": 7.5, "color": QUIET}


@dataclass(frozen=True)
class Page:
    """A figure that is laid out in inches from its lower left corner."""

    figure: Figure

    def image(self, picture: Tensor, left: float, bottom: float, side: float) -> Axes:
        """A (C, H, W) image in [0, 1] in a square."""
        axes = self.figure.add_axes((left / WIDTH, bottom / HEIGHT, side / WIDTH, side / HEIGHT))
        pixels = picture.permute(1, 2, 0).numpy()
        axes.imshow(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_anchor("C")
        return axes

    def text(self, left: float, bottom: float, text: str, **style: Any) -> None:
        """One line."""
        self.figure.text(left / WIDTH, bottom / HEIGHT, text, **style)


def check_picture(path: Path) -> None:
    """Refuse a file that a picture could not be written to, before anything is computed.

    Raises:
        RbdmlError: of another kind than PNG or SVG, or in no folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise RbdmlError(f"{path}: pictures are written as {' or '.join(SUFFIXES)}: give --out such a name")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise RbdmlError(f"{path}: cannot be written: name a file in a folder that exists")


def write_picture(path: Path, close: AttackTrace, split: Split, *, caption: str) -> None:
    """Draw one attack, as PNG or SVG by the suffix. The same values give the same bytes.

    Args:
        path: the file.
        close: the attack.
        split: where the images of the list are.
        caption: what it was made with, in one line.

    Raises:
        RbdmlError: the file cannot be written.
    """
    check_picture(path)
    kind = path.suffix.lower()[1:]
    with (
        mpl.rc_context(mpl.rcParamsDefault),
        mpl.rc_context({**STYLES["screen"].rc, "axes.grid": False, "font.size": 9}),
    ):
        figure = draw_picture(close, split, caption=caption)
        metadata = {"Software": None} if kind == "png" else {"Date": None}
        try:
            write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=150, metadata=metadata))
        except OSError as error:
            raise RbdmlError(f"{path}: cannot be written ({error.strerror}): name another --out") from None


def draw_picture(close: AttackTrace, split: Split, *, caption: str) -> Figure:
    """The figure that `write_picture` writes."""
    figure = Figure(figsize=(WIDTH, HEIGHT))
    FigureCanvasAgg(figure)
    page = Page(figure)
    _title(page, close)
    _images(page, close, split)
    for ranking, moved, bottom, name in (
        (close.before, close.images[0], BEFORE_ROW, "before"),
        (close.after, close.images[1], AFTER_ROW, "after"),
    ):
        _list(page, close, ranking, _pictures(split, close.row, moved), bottom, name)
    for line, words in enumerate(reversed(wrap(caption, 170))):
        page.text(MARGIN, 0.17 + 0.14 * line, words, **NOTE)
    return figure


def magnification(close: AttackTrace) -> float:
    """By how much the perturbation is magnified so that its largest change just fits; 0 where there is none."""
    return 0.5 / close.largest_change if close.largest_change > 0 else 0.0


def _title(page: Page, close: AttackTrace) -> None:
    whose = "the candidate" if close.info.cls.of_candidate else "the query"
    columns = ", ".join(close.values)
    page.text(MARGIN, HEIGHT - 0.38, columns, fontsize=15, fontweight="bold")
    what = f"{close.info.summary}; {whose} is image {close.row}, class {close.labels[close.row]}"
    page.text(MARGIN, HEIGHT - 0.62, what, fontsize=9, color=QUIET)


def _images(page: Page, close: AttackTrace, split: Split) -> None:
    before, after = close.images
    times = magnification(close)
    largest = f"largest change {close.largest_change * 255:.3g}/255"
    shown: list[tuple[str, str, Tensor]] = [
        ("before", "", before),
        ("after", largest, after),
        (
            f"perturbation \u00d7 {times:.3g}" if times else "no perturbation",
            f"L2 length {close.length:.3g}; grey is 0",
            (0.5 + times * (after - before)).clamp(0, 1),
        ),
    ]
    picture = _pictures(split, -1, before)
    for row in close.targets[:TARGETS]:
        several = f" (1st of {len(close.targets)})" if len(close.targets) > 1 else ""
        role = "target, a query" if close.info.cls.of_candidate else "target"
        shown.append((f"{role}{several}", f"image {row}, class {close.labels[row]}", picture(row)))
    left = MARGIN
    for title, below, image in shown:
        axes = page.image(image, left, TOP_ROW, LARGE)
        axes.set_title(title, fontsize=9.5, pad=4)
        axes.set_xlabel(below, fontsize=8, color=QUIET, labelpad=3)
        left += LARGE + 2.5 * GAP
    _values(page, close, left + GAP)


def _values(page: Page, close: AttackTrace, left: float) -> None:
    """The columns, the place in the list and the distance, each before and after, with what it means."""
    meanings = {column.name: column.meaning for column in close.info.columns}
    lines = [(_change(name, *pair), meanings[name], "black") for name, pair in close.values.items()]
    for row in close.followed[:1]:
        old, new = close.before.places[row], close.after.places[row]
        target = "the target" if len(close.targets) == 1 else "the first target"
        who = "the candidate" if close.info.cls.of_candidate else target
        lines.append(
            (f"\u25c6 {old:,} \u2192 {new:,}", f"place of {who} in the list, of {close.competitors:,}", FOLLOWED)
        )
    if not any(new == close.moved for _, new in close.values.values()):
        lines.append((f"{close.moved:.3f}", "how far the embedding moved, of at most 2", "black"))
    bottom = TOP_ROW + LARGE - 0.2
    for value, meaning, colour in lines:
        size = 12 if len(value) < 22 else 9.5
        page.text(left, bottom, value, fontsize=size, fontweight="bold", color=colour)
        page.text(left, bottom - 0.19, meaning, **NOTE)
        bottom -= 0.5


def _list(
    page: Page, close: AttackTrace, ranking: Ranking, picture: Callable[[int], Tensor], bottom: float, name: str
) -> None:
    """The first places, and the first followed row where it is not among them."""
    whose = "the target's list" if close.info.cls.of_candidate else "the query's list"
    page.text(MARGIN, bottom + SMALL + 0.3, f"{whose} {name}", fontsize=9.5, fontweight="bold")
    legend = f"\u2713 of the class of image {close.query}, \u2717 of another"
    page.text(MARGIN + 2, bottom + SMALL + 0.3, legend, **NOTE)
    left = MARGIN
    for place, row in enumerate(ranking.top, start=1):
        _thumb(page, close, picture(row), row, place, left, bottom)
        left += SMALL + GAP
    for row in [row for row in close.followed[:1] if row not in ranking.top]:
        page.text(left + 0.08, bottom + SMALL / 2, "\u2026", fontsize=16, color=QUIET)
        _thumb(page, close, picture(row), row, ranking.places[row], left + 0.42, bottom)


def _thumb(page: Page, close: AttackTrace, image: Tensor, row: int, place: int, left: float, bottom: float) -> None:
    axes = page.image(image, left, bottom, SMALL)
    right, followed = close.right(row), row in close.followed
    for spine in axes.spines.values():
        spine.set(visible=True, color=RIGHT if right else WRONG, linewidth=2.5)
    style: dict[str, str] = {"color": FOLLOWED, "fontweight": "bold"} if followed else {}
    axes.set_title(("\u25c6 " if followed else "") + f"{place:,}", fontsize=8, pad=3, **style)  # type: ignore[arg-type]
    mark = "\u2713" if right else "\u2717"
    axes.set_xlabel(f"{mark} class {close.labels[row]}", fontsize=8, color=RIGHT if right else WRONG, labelpad=3)


def _change(column: str, old: float, new: float) -> str:
    return f"{column}  {old:.{decimals(column)}f} \u2192 {new:.{decimals(column)}f}"


def _pictures(split: Split, moved: int, image: Tensor) -> Callable[[int], Tensor]:
    """(C, H, W) pictures of rows, one of them as it is now."""

    def of(row: int) -> Tensor:
        return image if row == moved else split.batch(torch.tensor([row], device=split.labels.device))[0].cpu()

    return of


def values_of(single: AttackedImage) -> dict[str, Any]:
    """Everything that a program may want to know of it."""
    close = single.close
    return {
        "attack": close.info.name,
        "dataset": single.dataset,
        "model": single.label,
        "weights": single.weights,
        "commit": single.commit,
        "evaluation": single.evaluation.model_dump(mode="json"),
        "image": close.row,
        "class": close.labels[close.row],
        "targets": [{"image": row, "class": close.labels[row]} for row in close.targets],
        "list of": close.query,
        "competitors": close.competitors,
        "places": [
            {"image": row, "before": close.before.places[row], "after": close.after.places[row]}
            for row in close.followed
        ],
        "top before": list(close.before.top),
        "top after": list(close.after.top),
        "values": {name: {"before": old, "after": new} for name, (old, new) in close.values.items()},
        "largest change": close.largest_change,
        "L2 length": close.length,
        "moved": close.moved,
    }


def values_text(single: AttackedImage) -> str:
    """The same for a person: a title, a small table, what it was made with."""
    close = single.close
    rows = [{"value": name, "before": f"{old:.3f}", "after": f"{new:.3f}"} for name, (old, new) in close.values.items()]
    rows += [
        {
            "value": f"place of image {row} in the list of {close.query}",
            "before": f"{close.before.places[row]}",
            "after": f"{close.after.places[row]}",
        }
        for row in close.followed
    ]
    return "\n\n".join(
        [
            f"{close.info.name} on image {close.row} of {single.dataset}, class {close.labels[close.row]}",
            text_table(rows),
            f"largest change {close.largest_change * 255:.3g}/255, L2 length {close.length:.3g}, "
            f"embedding moved by {close.moved:.3f} of at most 2",
            single.caption,
        ]
    )
