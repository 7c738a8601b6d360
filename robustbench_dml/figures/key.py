"""The key of a figure: which marker and line is which defense, beside the panels or below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robustbench_dml.figures.labels import spread
from robustbench_dml.figures.look import INK, Look, Style
from robustbench_dml.figures.marks import marker
from robustbench_dml.figures.sheet import EDGE, POINT, Sheet, name_width

HANDLE, GAP = 0.27, 0.06  # length of the line before a name and the gap after it, in inches


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of a key.

    Attributes:
        name: of the defense.
        look: of its marks.
        hollow: whether all of these are.
        lined: whether a line joins them.
        height: where the entry would best stand, in inches; for a key beside panels.
        end: of its curve, in inches, where a line leads from there to the entry.
    """

    name: str
    look: Look
    hollow: bool
    lined: bool
    height: float = 0.0
    end: tuple[float, float] | None = None


def key_width(names: Sequence[str], style: Style) -> float:
    """Of one column, in inches."""
    return HANDLE + GAP + max(name_width(name, style, style.small) for name in names)


def key_step(style: Style) -> float:
    """Height of an entry, in inches."""
    return 1.4 * style.small * POINT


def key_height(names: Sequence[str], style: Style, room: float) -> float:
    """Of a key in columns in a room that is so wide, in inches."""
    return -(-len(names) // _columns(names, style, room)) * key_step(style)


def key_below(sheet: Sheet, entries: Sequence[Entry], left: float, bottom: float) -> None:
    """Draw entries in columns, the first on top, down to `bottom` in inches."""
    names, room = [entry.name for entry in entries], sheet.width - left - EDGE
    columns, step = _columns(names, sheet.style, room), key_step(sheet.style)
    rows = -(-len(entries) // columns)
    for place, entry in enumerate(entries):
        _draw(sheet, entry, left + place // rows * room / columns, bottom + (rows - place % rows - 0.5) * step)


def key_beside(sheet: Sheet, entries: Sequence[Entry], x: float, low: float, high: float) -> None:
    """Draw entries one below the other from `x`, as near as can be to their heights, between two heights in inches."""
    half = key_step(sheet.style) / 2
    heights = spread([entry.height for entry in entries], 2 * half, low + half, high - half)
    for entry, y in zip(entries, heights, strict=True):
        if entry.end is not None:
            start = entry.end[0] + 0.8 * sheet.style.marker * POINT
            sheet.line((start, x - 0.04), (entry.end[1], y), color=entry.look.colour, linewidth=0.5, alpha=0.7)
        _draw(sheet, entry, x, y)


def _columns(names: Sequence[str], style: Style, room: float) -> int:
    return max(1, min(len(names), int(room / (key_width(names, style) + 2 * GAP))))


def _draw(sheet: Sheet, entry: Entry, x: float, y: float) -> None:
    style = sheet.style
    if entry.lined:
        width = 0.2 * style.marker
        sheet.line((x, x + HANDLE), (y, y), color=entry.look.colour, linestyle=entry.look.dash, linewidth=width)
    sheet.line((x + HANDLE / 2,), (y,), **marker(entry.look, style, hollow=entry.hollow))
    sheet.text(x + HANDLE + GAP, y, entry.name, size=style.small, named=True, va="center_baseline", color=INK)
