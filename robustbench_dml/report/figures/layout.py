"""A figure laid out in inches: a heading, panels, and the small print below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from robustbench_dml.report.figures.label_placement import text_size, wrap
from robustbench_dml.report.figures.style import QUIET, FigureStyle
from robustbench_dml.report.names import printable, typeset

POINT = 1 / 72  # of an inch
EDGE = 0.07  # around the figure, in inches
LEADING = 1.25  # from line to line, in sizes of the font


@dataclass(frozen=True)
class Sheet:
    """A figure with a heading and small print, and room between them.

    Attributes:
        figure: all of it.
        style: how it is drawn.
        width: in inches.
        bottom: lower edge of the room for panels and their labels, in inches.
        top: upper edge.
    """

    figure: Figure
    style: FigureStyle
    width: float
    bottom: float
    top: float

    def axes(self, left: float, bottom: float, width: float, height: float, *, beside: Axes | None = None) -> Axes:
        """A panel, in inches from the lower left corner of the figure; one beside another has its y axis."""
        across, up = self.figure.get_size_inches()
        axes = self.figure.add_axes((left / across, bottom / up, width / across, height / up), sharey=beside)
        axes.tick_params(labelsize=self.style.small, length=2.5, width=0.7, pad=2.5, labelleft=beside is None)
        return axes

    def text(self, x: float, y: float, text: str, *, size: float, named: bool = False, **look: Any) -> None:
        """One line that begins there; a defense's name is typeset where the style does that."""
        words, parse = _drawn(text, self.style, named)
        self.figure.text(x, y, words, fontsize=size, parse_math=parse, transform=self.figure.dpi_scale_trans, **look)

    def line(self, x: tuple[float, ...], y: tuple[float, ...], **look: Any) -> None:
        """A line or markers, in inches."""
        self.figure.add_artist(Line2D(x, y, transform=self.figure.dpi_scale_trans, **look))

    def inches(self, axes: Axes, x: float, y: float) -> tuple[float, float]:
        """Where a point of a panel is on the figure, once the limits of the panel are what they will be."""
        across, up = axes.transData.transform((x, y)) / self.figure.dpi
        return float(across), float(up)


def new_sheet(style: FigureStyle, *, width: float, body: float, heading: str, where: str, notes: str) -> Sheet:
    """An empty sheet.

    Args:
        style: of the figure.
        width: in inches.
        body: height of the room between heading and small print, in inches.
        heading: what it shows.
        where: on what; below the heading, or before the small print where there is no heading.
        notes: the small print.
    """
    room = 0.985 * (width - 2 * EDGE) / POINT  # pixels make letters a little wider or narrower
    under = style.print_size + 0.5
    above = wrap(where, room, under) if style.titled else []
    below = wrap(notes if style.titled else f"{where}. {notes}", room, style.print_size)
    head = (LEADING * (style.size + 2) + len(above) * LEADING * under) * POINT + 2 * EDGE if style.titled else EDGE / 2
    foot = len(below) * LEADING * style.print_size * POINT + 1.5 * EDGE
    figure = Figure(figsize=(width, foot + body + head))
    FigureCanvasAgg(figure)
    sheet = Sheet(figure, style, width, foot, foot + body)
    if style.titled:
        y = foot + body + head - EDGE - (style.size + 2) * POINT
        sheet.text(EDGE, y, heading, size=style.size + 2, fontweight="bold")
        for line, words in enumerate(above, start=1):
            sheet.text(EDGE, y - line * LEADING * under * POINT, words, size=under, color=QUIET)
    for line, words in enumerate(reversed(below)):
        sheet.text(EDGE, EDGE + line * LEADING * style.print_size * POINT, words, size=style.print_size, color=QUIET)
    return sheet


def left_room(style: FigureStyle) -> float:
    """Left edge of the first panel in inches, after the ticks and the label of its y axis."""
    return EDGE + (3.2 * style.size + 8) * POINT


def from_zero(axes: Axes) -> None:
    """Let the y axis begin at 0, unless that would cut what lies there or leave half of the panel empty."""
    _, top = axes.get_ylim()
    if 0.02 * top < axes.dataLim.y0 < top / 2:
        axes.set_ylim(0, top)


def axis_room(style: FigureStyle, *, lines: int = 1) -> float:
    """What ticks and the label of an x axis take below a panel, in inches."""
    return ((1.0 + 1.35 * lines) * style.size + 12) * POINT


def name_width(name: str, style: FigureStyle, size: float) -> float:
    """Width of a defense's name as it is drawn, in inches."""
    words, parse = _drawn(name, style, True)
    return text_size(words, size, typeset=parse)[0] * POINT


def _drawn(text: str, style: FigureStyle, named: bool) -> tuple[str, bool]:
    words = printable(text)
    return (typeset(words), True) if named and style.typeset else (words, False)
