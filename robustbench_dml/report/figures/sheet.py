"""A figure with a heading, panels and footnotes. Matplotlib's constrained layout finds the room for each."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from robustbench_dml.report.figures.style import QUIET, FigureStyle

LETTERS = 13  # of a subtitle, in an inch


def new_sheet(
    style: FigureStyle,
    size: tuple[float, float],
    *,
    heading: str,
    where: str,
    notes: str,
    grid: tuple[int, int] = (1, 1),
    **shared: Any,
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its panels, row by row.

    Args:
        style: the figure's style.
        size: width and height, in inches.
        heading: title of the figure.
        where: subtitle; in a figure without title it begins the footnotes.
        notes: footnotes.
        grid: rows and columns of panels.
        shared: axes that the panels share, as for `Figure.subplots`.
    """
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(*grid, squeeze=False, **shared).flatten().tolist()
    if style.titled:
        lines = wrap(where, round(LETTERS * size[0]))
        title = figure.suptitle(heading + "\n" * len(lines), x=0.01, ha="left", fontsize=11, fontweight="bold")
        panels[0].annotate("\n".join(lines), (0, 0), xycoords=title, va="bottom", color=QUIET, in_layout=False)
    figure.supxlabel(notes if style.titled else f"{where}. {notes}", x=0.01, ha="left", color=QUIET, wrap=True)
    return figure, panels


def settle(figure: Figure) -> None:
    """Find the layout, and round it: the last digits of the solver differ from process to process."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(tuple(round(edge, 5) for edge in axes.get_position().bounds))
