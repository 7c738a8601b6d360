"""What is drawn, read back from figures and their files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from robustbench_dml.leaderboard.board import Board, read_boards
from robustbench_dml.report.figures.series import COST, PASSES, Layer, Point, Series, layer_of_rows
from robustbench_dml.report.figures.style import STYLES, FigureStyle, StyleName
from robustbench_dml.report.figures.write import drawn_in, write_figures
from robustbench_dml.report.rows import Row

SVG = "{http://www.w3.org/2000/svg}"
Position = tuple[float, float]


def texts(svg: Path) -> list[str]:
    """What is written in a drawing."""
    return ["".join(text.itertext()) for text in ElementTree.parse(svg).iter(f"{SVG}text")]


def written_in(figure: Figure) -> list[str]:
    """All texts of a figure."""
    return [text.get_text().strip() for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]


def small_print(figure: Figure) -> str:
    """The footnotes."""
    return figure.get_supxlabel()


def marks(axes: Axes, gid: str) -> set[Position]:
    """Where the marks of a defense are in a panel, by its registered name."""
    return {
        (float(np.ravel(line.get_xdata())[0]), float(np.ravel(line.get_ydata())[0]))
        for line in axes.get_lines()
        if line.get_gid() == gid
    }


def bars(axes: Axes) -> list[np.ndarray]:
    """(2, 2) ends of the bars in a panel."""
    lines = [collection for collection in axes.collections if isinstance(collection, LineCollection)]
    return [np.asarray(segment) for collection in lines for segment in collection.get_segments()]


def drawn(layer: Layer, draw: Callable[[Layer, FigureStyle], Figure | None], style: StyleName = "screen") -> Figure:
    """A figure of a layer, in its style."""
    with drawn_in(STYLES[style]):
        figure = draw(layer, STYLES[style])
    assert figure is not None
    return figure


def layer_of_board(board: Board) -> Layer:
    """All of a board."""
    return layer_of_rows(board.rows, board.passes)


def write_board(board: Board, style: StyleName = "screen", folder: Path | None = None) -> list[Path]:
    """Write all figures of a board, by default into the board's folder."""
    return write_figures(board.rows, folder or board.folder, style, passes=board.passes)


def main_board(leaderboards: Path) -> Board:
    """The first of the boards."""
    return read_boards(leaderboards)[0]


def drawn_rows(board: Board) -> list[Row]:
    """The rows of a board in the order of its figures: over all sections, the best first, the disqualified last."""
    return sorted(board.rows, key=lambda row: (bool(row.disqualifying), -row.values[row.score]))


def made_point(
    eta: int | None = 8, score: float = 30.0, recall: float = 60.0, passes: float | None = None, **changes: object
) -> Point:
    """A point with this score and recall, by default of 100,000 passes times eta + 1."""
    values = {"ERS": score, "R@1": recall}
    cost = {} if eta is None else {PASSES: 1e5 * (eta + 1), COST: eta + 1}
    cost |= {} if passes is None else {PASSES: passes}
    given = {
        "values": {**values, **cost},
        "intervals": {name: (value - 2, value + 3) for name, value in values.items()},
        "seeds": ({**values, **cost},),
        "seed_numbers": (0,),
        "eta": eta,
        "declared": False,
        "budget": "passes 1000",
        "flag": "",
    }
    return Point(**{**given, **changes})  # type: ignore[arg-type]


def made_layer(*series: Sequence[Point], names: Sequence[str] = "abcdefghij", **changes: object) -> Layer:
    """A layer of these points, a defense each."""
    given = {"where": "a data set, a network", "score": "ERS", "score_label": "a score", "columns": {}}
    made = tuple(Series(name, name, tuple(points)) for name, points in zip(names, series, strict=False))
    return Layer(series=made, **{**given, **changes})  # type: ignore[arg-type]
