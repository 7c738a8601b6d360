"""A figure laid out in inches: a heading, panels, a legend and footnotes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from robustbench_dml.report.figures.style import QUIET, FigureStyle
from robustbench_dml.report.names import printable, typeset

POINT = 1 / 72  # inches in a point
EDGE = 0.07  # margin of the figure, in inches
LEADING = 1.25  # line height, in font sizes


@dataclass(frozen=True)
class Sheet:
    """A figure with a heading and footnotes. All lengths are in inches from the lower left corner.

    Attributes:
        figure: the figure, with its heading and footnotes drawn.
        style: the figure's style.
        right: right edge of the panels.
        foot: upper edge of the footnotes.
        low: lower edge of the lowest panel.
        top: upper edge of the highest panel.
    """

    figure: Figure
    style: FigureStyle
    right: float
    foot: float
    low: float
    top: float

    def axes(self, left: float, bottom: float, width: float, height: float, *, beside: Axes | None = None) -> Axes:
        """Add a panel; it shares the y axis of the panel `beside` it."""
        across, up = self.figure.get_size_inches()
        axes = self.figure.add_axes((left / across, bottom / up, width / across, height / up), sharey=beside)
        axes.tick_params(labelsize=self.style.small, length=2.5, width=0.7, pad=2.5, labelleft=beside is None)
        return axes

    def text(self, x: float, y: float, text: str, *, size: float, named: bool = False, **artist: Any) -> None:
        """Write one line from (x, y). `named` text is a defense's name, typeset if the style does so."""
        words, parse = _typeset(text, self.style, named)
        self.figure.text(x, y, words, fontsize=size, parse_math=parse, transform=self.figure.dpi_scale_trans, **artist)

    def line(self, x: tuple[float, ...], y: tuple[float, ...], **artist: Any) -> None:
        """Draw a line or markers."""
        self.figure.add_artist(Line2D(x, y, transform=self.figure.dpi_scale_trans, **artist))

    def inches(self, axes: Axes, x: float, y: float) -> tuple[float, float]:
        """Return the position of a data point, for the current limits of its panel."""
        across, up = axes.transData.transform((x, y)) / self.figure.dpi
        return float(across), float(up)


def new_sheet(
    style: FigureStyle,
    *,
    width: float,
    height: float,
    heading: str,
    where: str,
    notes: str,
    axis: float = 0.0,
    below: float = 0.0,
    beside: float = EDGE,
) -> Sheet:
    """Return a sheet without panels.

    Args:
        style: the figure's style.
        width: the figure's width, in inches.
        height: the height of all panels together, in inches.
        heading: title of the figure.
        where: subtitle; without a heading it begins the footnotes.
        notes: footnotes.
        axis: height of the x axis below the panels, in inches.
        below: room for a legend below the panels, in inches.
        beside: room at the right of the panels, in inches.
    """
    room = 0.985 * (width - 2 * EDGE) / POINT  # pixels make letters a little wider or narrower
    under = style.print_size + 0.5
    subtitle = wrap(where, room, under) if style.titled else []
    footnotes = wrap(notes if style.titled else f"{where}. {notes}", room, style.print_size)
    head = EDGE / 2
    if style.titled:
        head = (LEADING * (style.size + 2) + len(subtitle) * LEADING * under) * POINT + 2 * EDGE
    foot = len(footnotes) * LEADING * style.print_size * POINT + 1.5 * EDGE
    body = height + axis + below
    figure = Figure(figsize=(width, foot + body + head))
    FigureCanvasAgg(figure)
    sheet = Sheet(figure, style, width - beside, foot, foot + axis + below, foot + body)
    if style.titled:
        y = foot + body + head - EDGE - (style.size + 2) * POINT
        sheet.text(EDGE, y, heading, size=style.size + 2, fontweight="bold")
        for line, words in enumerate(subtitle, start=1):
            sheet.text(EDGE, y - line * LEADING * under * POINT, words, size=under, color=QUIET)
    for line, words in enumerate(reversed(footnotes)):
        sheet.text(EDGE, EDGE + line * LEADING * style.print_size * POINT, words, size=style.print_size, color=QUIET)
    return sheet


def left_room(style: FigureStyle) -> float:
    """Return the left edge of the first panel, after the ticks and label of its y axis, in inches."""
    return EDGE + (3.2 * style.size + 8) * POINT


def axis_room(style: FigureStyle, *, lines: int = 1) -> float:
    """Return the height of the ticks and label of an x axis, in inches."""
    return ((1.0 + 1.35 * lines) * style.size + 12) * POINT


def from_zero(axes: Axes) -> None:
    """Start the y axis at 0, unless that cuts off a value or leaves half of the panel empty."""
    _, top = axes.get_ylim()
    if 0.02 * top < axes.dataLim.y0 < top / 2:
        axes.set_ylim(0, top)


def name_width(name: str, style: FigureStyle, size: float) -> float:
    """Return the width of a defense's name as drawn, in inches."""
    words, parse = _typeset(name, style, True)
    return text_size(words, size, typeset=parse)[0] * POINT


def text_size(text: str, size: float, *, typeset: bool = False) -> tuple[float, float]:
    """Return width and line height of a line of text in the current font, in points.

    Args:
        text: one line.
        size: the font size, in points.
        typeset: whether dollar signs enclose subscripts.
    """
    return _width(text, size, typeset, tuple(mpl.rcParams["font.family"])), 1.2 * size


@lru_cache(maxsize=4096)
def _width(text: str, size: float, typeset: bool, family: tuple[str, ...]) -> float:
    font = FontProperties(family=list(family), size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=typeset and "$" in text)
    return float(width)


def wrap(text: str, width: float, size: float) -> list[str]:
    """Break a text at spaces into lines of at most `width` points. A longer word gets a separate line."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_size(longer, size)[0] > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _typeset(text: str, style: FigureStyle, named: bool) -> tuple[str, bool]:
    words = printable(text)
    return (typeset(words), True) if named and style.typeset else (words, False)
