"""How defenses are drawn on the page: as in the figures, in the words of Plotly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robustbench_dml.leaderboard.board import Board
from robustbench_dml.report.figures.style import SeriesStyle, series_styles
from robustbench_dml.report.names import paper_name
from robustbench_dml.report.published import Reported
from robustbench_dml.report.rows import Row

SYMBOLS: dict[Any, str] = {
    "o": "circle",
    "v": "triangle-down",
    "<": "triangle-left",
    ">": "triangle-right",
    "^": "triangle-up",
    "s": "square",
    "D": "diamond",
    "d": "diamond-tall",
    "P": "cross",
    "*": "star",
    "p": "pentagon",
    "h": "hexagon",
    "H": "hexagon2",
    "8": "octagon",
    (3, 1, 0): "star-triangle-up",
    (4, 1, 0): "star-diamond",
    (6, 1, 0): "hexagram",
}
WIDTH = 1.5  # of lines in pixels; matplotlib's dashes are in widths

StylesByBoard = dict[tuple[str, str | None], dict[str, SeriesStyle]]


def name_of(row: Row) -> str:
    """A row's defense as papers write it."""
    spec = row.records[0].spec
    return paper_name(row.label, spec.params, spec.dataset)


def styles_by_board(boards: Sequence[Board], reported: Sequence[Reported]) -> StylesByBoard:
    """The look of every defense by data set and backbone, then by name: one for both layers."""
    names: dict[tuple[str, str | None], set[str]] = {}
    for board in boards:
        names.setdefault((board.dataset, board.network), set()).update(map(name_of, board.rows))
    for one in reported:
        names.setdefault((one.dataset, one.backbone), set()).add(one.defense)
    return {place: series_styles(found) for place, found in names.items()}


def drawn(look: SeriesStyle) -> dict[str, str]:
    """Symbol and dash of a look, as Plotly takes them."""
    dash = "solid" if look.dash == "-" else ",".join(f"{WIDTH * length:g}px" for length in look.dash[1])
    return {"symbol": SYMBOLS[look.marker], "dash": dash}
