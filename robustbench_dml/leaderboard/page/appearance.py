"""Colours, symbols and dashes of defenses on the page: as in the figures, in the terms of Plotly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robustbench_dml.leaderboard.board import Board
from robustbench_dml.report.figures.style import COLOURS, SeriesStyle, series_styles
from robustbench_dml.report.names import paper_name
from robustbench_dml.report.published import Reported
from robustbench_dml.report.rows import Row

# The families of `COLOURS` on a dark page: tints that stand out there, and inverted greys.
DARK = {
    "regular": "#ffffff",
    "est": "#adadad",
    "act": "#f0901e",
    "hm": "#5d75bb",
    "hm-gradual": "#218952",
    "hm-ics": "#c65532",
    "madry": "#c165b5",
    "ca-tride": "#5c95ff",
    "other": "#9f66a0",
}
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
WIDTH = 1.5  # width of lines in pixels; matplotlib measures dashes in widths

StylesByBoard = dict[tuple[str, str | None], dict[str, SeriesStyle]]


def family_colours() -> dict[str, list[str]]:
    """Return the two colours of every family of defenses: for a light page and for a dark page."""
    return {family: [colour, DARK[family]] for family, colour in COLOURS.items()}


def name_of(row: Row) -> str:
    """Write the defense of a row as in papers."""
    spec = row.records[0].spec
    return paper_name(row.label, spec.params, spec.dataset)


def styles_by_board(boards: Sequence[Board], reported: Sequence[Reported]) -> StylesByBoard:
    """Choose the style of every defense by data set and backbone, then by name; reported results share it."""
    names: dict[tuple[str, str | None], set[str]] = {}
    for board in boards:
        names.setdefault((board.dataset, board.network), set()).update(map(name_of, board.rows))
    for one in reported:
        names.setdefault((one.dataset, one.backbone), set()).add(one.defense)
    return {key: series_styles(defenses) for key, defenses in names.items()}


def drawn(style: SeriesStyle) -> dict[str, str]:
    """Return the symbol and the dash of a style for Plotly."""
    dash = "solid" if style.dash == "-" else ",".join(f"{WIDTH * length:g}px" for length in style.dash[1])
    return {"symbol": SYMBOLS[style.marker], "dash": dash}
