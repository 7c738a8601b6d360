"""The key of a figure: which marker and line is which defense, beside the panels or below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robustbench_dml.report.figures.label_placement import spread
from robustbench_dml.report.figures.layout import EDGE, POINT, Sheet, name_width
from robustbench_dml.report.figures.markers import mark
from robustbench_dml.report.figures.style import INK, OUT, FigureStyle, SeriesStyle

HANDLE, GAP = 0.27, 0.06  # length of the line before a name and the gap after it, in inches


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of a key.

    Attributes:
        name: of the defense.
        look: of its marks.
        hollow: whether all of these are.
        lined: whether a line joins them.
        out: whether all of these are disqualified.
        height: where the entry would best stand, in inches; for a key beside panels.
        end: of its curve, in inches, where a line leads from there to the entry.
    """

    name: str
    look: SeriesStyle
    hollow: bool
    lined: bool
    out: bool
    height: float = 0.0
    end: tuple[float, float] | None = None


def key_width(names: Sequence[str], style: FigureStyle) -> float:
    """Of one column, in inches."""
    return HANDLE + GAP + 1.015 * max(name_width(name, style, style.small) for name in names)


def key_step(style: FigureStyle) -> float:
    """Height of an entry, in inches."""
    return 1.4 * style.small * POINT


def key_height(names: Sequence[str], style: FigureStyle, room: float) -> float:
    """Of a key in columns in a room that is so wide, in inches."""
    return -(-len(names) // len(_columns(names, style, room))) * key_step(style)


def key_below(sheet: Sheet, entries: Sequence[Entry], left: float, bottom: float) -> None:
    """Draw entries in columns, the first on top, down to `bottom` in inches."""
    style, room = sheet.style, sheet.width - left - EDGE
    widths = _columns([entry.name for entry in entries], style, room)
    rows = -(-len(entries) // len(widths))
    gap = (room - sum(widths)) / len(widths)
    for place, entry in enumerate(entries):
        column, row = divmod(place, rows)
        x = left + sum(widths[:column]) + column * gap
        _draw(sheet, entry, x, bottom + (rows - row - 0.5) * key_step(style))


def key_beside(sheet: Sheet, entries: Sequence[Entry], x: float, low: float, high: float) -> None:
    """Draw entries one below the other from `x`, as near as can be to their heights, between two heights in inches."""
    half = key_step(sheet.style) / 2
    heights = spread([entry.height for entry in entries], 2 * half, low + half, high - half)
    for entry, y in zip(entries, heights, strict=True):
        if entry.end is not None:
            start = entry.end[0] + 0.8 * sheet.style.marker * POINT
            sheet.line(
                (start, x - 0.04), (entry.end[1], y), color=OUT if entry.out else entry.look.colour, linewidth=0.5
            )
        _draw(sheet, entry, x, y)


def _columns(names: Sequence[str], style: FigureStyle, room: float) -> list[float]:
    """Widths of columns, filled one after the other: as many as there is room for, in inches."""
    for many in range(len(names), 1, -1):
        rows = -(-len(names) // many)
        widths = [key_width(names[first : first + rows], style) for first in range(0, len(names), rows)]
        if sum(widths) + 2 * GAP * len(widths) <= room:
            return widths
    return [key_width(names, style)]


def _draw(sheet: Sheet, entry: Entry, x: float, y: float) -> None:
    style = sheet.style
    if entry.lined:
        width = 0.2 * style.marker
        sheet.line((x, x + HANDLE), (y, y), color=entry.look.colour, linestyle=entry.look.dash, linewidth=width)
    for look in mark(entry.look, style, hollow=entry.hollow, out=entry.out):
        sheet.line((x + HANDLE / 2,), (y,), **look)
    sheet.text(x + HANDLE + GAP, y, entry.name, size=style.small, named=True, va="center_baseline", color=INK)
