"""The legend of a figure: the marker and line of each defense, beside the panels or below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from robustbench_dml.report.figures.layout import EDGE, POINT, Sheet, name_width
from robustbench_dml.report.figures.markers import point_markers
from robustbench_dml.report.figures.style import INK, OUT, FigureStyle, SeriesStyle

HANDLE, GAP = 0.27, 0.06  # length of the line before a name and the gap after it, in inches
INDENT = 0.2  # distance from the panels to a legend beside them, in inches


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of a legend.

    Attributes:
        name: the defense's name.
        style: the colour, marker and line of its marks.
        hollow: whether all its marks are hollow.
        lined: whether a line joins its marks.
        out: whether all its points are disqualified.
        height: preferred height beside the panels, in inches.
        end: last point of its curve in inches, from which a thin line leads to the entry; None for no line.
    """

    name: str
    style: SeriesStyle
    hollow: bool
    lined: bool
    out: bool
    height: float = 0.0
    end: tuple[float, float] | None = None


def legend_room(names: Sequence[str], style: FigureStyle) -> tuple[float, float]:
    """Return the room of a legend beside the panels and below them, in inches: beside them in titled figures."""
    if style.titled:
        return _width(names, style) + INDENT + 0.02, 0.0
    return EDGE, _rows(names, style) * _step(style)


def draw_legend(sheet: Sheet, entries: Sequence[Entry]) -> None:
    """Draw a legend in the room from `legend_room`."""
    if sheet.style.titled:
        _draw_beside(sheet, entries)
    else:
        _draw_below(sheet, entries)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions at least a gap apart, in the order of the wanted ones and nearest to them in least squares.

    Args:
        wanted: positions in any order.
        gap: between neighbours; reduced if the positions do not fit.
        low: lowest position.
        high: highest position.
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    rising = isotonic_regression(np.asarray(wanted, dtype=float)[order] - steps).x
    positions = np.empty(len(wanted))
    positions[order] = np.clip(rising, low, high - steps[-1]) + steps
    return positions.tolist()


def _draw_beside(sheet: Sheet, entries: Sequence[Entry]) -> None:
    """Draw one column, each entry near its height, with a line from the end of its curve."""
    x, half = sheet.right + INDENT, _step(sheet.style) / 2
    heights = spread([entry.height for entry in entries], 2 * half, sheet.low + half, sheet.top - half)
    for entry, y in zip(entries, heights, strict=True):
        if entry.end is not None:
            start = entry.end[0] + 0.8 * sheet.style.marker * POINT
            colour = OUT if entry.out else entry.style.colour
            sheet.line((start, x - 0.04), (entry.end[1], y), color=colour, linewidth=0.5)
        _draw_entry(sheet, entry, x, y)


def _draw_below(sheet: Sheet, entries: Sequence[Entry]) -> None:
    """Draw columns from top to bottom, spread over the width of the figure."""
    style, room = sheet.style, sheet.style.width - 2 * EDGE
    widths = _columns([entry.name for entry in entries], style)
    rows = -(-len(entries) // len(widths))
    gap = (room - sum(widths)) / len(widths)
    for index, entry in enumerate(entries):
        column, row = divmod(index, rows)
        x = EDGE + sum(widths[:column]) + column * gap
        _draw_entry(sheet, entry, x, sheet.foot + (rows - row - 0.5) * _step(style))


def _draw_entry(sheet: Sheet, entry: Entry, x: float, y: float) -> None:
    style = sheet.style
    if entry.lined:
        width = 0.2 * style.marker
        sheet.line((x, x + HANDLE), (y, y), color=entry.style.colour, linestyle=entry.style.dash, linewidth=width)
    for marker in point_markers(entry.style, style, hollow=entry.hollow, out=entry.out):
        sheet.line((x + HANDLE / 2,), (y,), **marker)
    sheet.text(x + HANDLE + GAP, y, entry.name, size=style.small, named=True, va="center_baseline", color=INK)


def _step(style: FigureStyle) -> float:
    """Height of an entry, in inches."""
    return 1.4 * style.small * POINT


def _width(names: Sequence[str], style: FigureStyle) -> float:
    """Width of a column, in inches."""
    return HANDLE + GAP + 1.015 * max(name_width(name, style, style.small) for name in names)


def _rows(names: Sequence[str], style: FigureStyle) -> int:
    return -(-len(names) // len(_columns(names, style)))


def _columns(names: Sequence[str], style: FigureStyle) -> list[float]:
    """Widths of as many columns as fit into the width of a figure, in inches."""
    for many in range(len(names), 1, -1):
        rows = -(-len(names) // many)
        widths = [_width(names[first : first + rows], style) for first in range(0, len(names), rows)]
        if sum(widths) + 2 * GAP * len(widths) <= style.width - 2 * EDGE:
            return widths
    return [_width(names, style)]
