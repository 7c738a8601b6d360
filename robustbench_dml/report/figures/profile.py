"""The profile: every attack of a protocol on the scale of its score, defense by defense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustbench_dml.report.figures.footnotes import notes
from robustbench_dml.report.figures.layout import EDGE, POINT, Sheet, name_width, new_sheet
from robustbench_dml.report.figures.markers import bars, mark, seed_marker
from robustbench_dml.report.figures.series import Layer, Point, Series
from robustbench_dml.report.figures.style import FAINT, OUT, QUIET, FigureStyle, SeriesStyle, series_styles
from robustbench_dml.report.names import shortened
from robustbench_dml.spec.columns import Column

HEADING = "Attack by attack"
MOST = 12  # defenses shown
ACROSS = 5  # panels side by side


@dataclass(frozen=True)
class Line:
    """A defense at its best setting.

    Attributes:
        series: all of it.
        point: the one that is drawn.
        name: of it, with eta where it has several.
    """

    series: Series
    point: Point
    name: str

    @property
    def beside(self) -> str:
        """The flag that disqualifies it, or else its name here, where it is written in another way."""
        registered = "" if self.series.name.lower() == self.series.registered else self.series.registered
        return shortened(self.point.flag or registered)


def draw_profile(layer: Layer, style: FigureStyle) -> Figure:
    """A panel for each attack: the means of the best defenses with their bars, 0 to 100, the best defense on top."""
    lines = _lines(layer)
    panels = list(layer.columns.items())
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    step = (1.75 if style.titled else 1.5) * style.small * POINT
    head, foot = 1.9 * style.size * POINT, 2.0 * style.small * POINT
    sheet = new_sheet(
        style,
        width=style.wide,
        body=down * (head + foot + len(lines) * step),
        heading=HEADING,
        where=layer.where,
        notes=notes(
            layer,
            [line.point for line in lines],
            f"Scale of {layer.score}, of which these are the parts: 100 is unmoved by the attack, 0 defeated",
            f"Grey line: {layer.score} of the defense",
            _choice(layer, lines),
        ),
    )
    look = series_styles(one.name for one in layer.series)
    left = EDGE + _names_width(lines, style) + _beside_width(lines, style) + 0.1
    gap = 0.13
    width = (sheet.width - left - EDGE - 0.05 - (across - 1) * gap) / across
    ends = _ends(layer, lines)
    for place, (name, column) in enumerate(panels):
        row, place_across = divmod(place, across)
        bottom = sheet.top - row * (head + foot + len(lines) * step) - head - len(lines) * step
        axes = sheet.axes(left + place_across * (width + gap), bottom, width, len(lines) * step)
        _draw_panel(axes, layer, name, column, lines, look, style)
        _finish(axes, name, ends, len(lines), style)
        axes.set_xticks([0, 50, 100] if 50 * width > 0.26 * (ends[1] - ends[0]) else [0, 100])
        if place_across == 0:
            _write_names(sheet, lines, bottom, step)
    return sheet.figure


def on_scale(column: Column, point: Point, name: str) -> tuple[float, tuple[float, float] | None]:
    """The value of an attack and its interval on the scale of the score."""
    value = column.ers(point.values[name])
    if name not in point.intervals:
        return value, None
    low, high = sorted(column.ers(end) for end in point.intervals[name])
    return value, (low, high)


def _lines(layer: Layer) -> list[Line]:
    """The best point of each series, and of these the best."""
    best = [Line(one, one.points[0], _name(one)) for one in layer.series]
    best.sort(key=lambda line: bool(line.point.flag))  # stable: the best first, the disqualified last
    return best[:MOST]


def _name(series: Series) -> str:
    several = len({point.eta for point in series.points}) > 1
    return f"{series.shown}, \u03b7 = {series.points[0].eta}" if several else series.shown


def _choice(layer: Layer, lines: list[Line]) -> str:
    settings = "Each at its best setting" if len(layer.points) > len(layer.series) else ""
    if len(lines) == len(layer.series):
        return settings
    return f"{settings}{'; shown' if settings else 'Shown'}: the best {len(lines)} of {len(layer.series)} defenses"


def _draw_panel(
    axes: Axes,
    layer: Layer,
    name: str,
    column: Column,
    lines: list[Line],
    look: dict[str, SeriesStyle],
    style: FigureStyle,
) -> None:
    for place, line in enumerate(lines):
        point, own = line.point, look[line.series.name]
        y = len(lines) - 1 - place
        value, interval = on_scale(column, point, name)
        colour = OUT if point.flag else own.colour
        score = point.values[layer.score]
        axes.plot([score, score], [y - 0.36, y + 0.36], color=OUT, linewidth=0.9, zorder=1.5)
        for seed in point.seeds if len(point.seeds) > 1 else ():
            axes.plot([column.ers(seed[name])], [y], alpha=0.4, zorder=2.3, **seed_marker(colour, own, style))
        if interval is not None:
            width = 0.15 * style.marker
            axes.errorbar(
                [value], [y], xerr=bars(value, interval), fmt="none", ecolor=colour, elinewidth=width, zorder=2.2
            )
        for one in mark(own, style, hollow=layer.reported, out=bool(point.flag)):
            axes.plot([value], [y], zorder=3, gid=line.series.registered, **one)


def _ends(layer: Layer, lines: list[Line]) -> tuple[float, float]:
    """Of the common x axis: 0 to 100 and what lies beyond."""
    found = [0.0, 100.0]
    for name, column in layer.columns.items():
        for line in lines:
            value, interval = on_scale(column, line.point, name)
            found += [value, *(interval or ())]
    return min(found) - 6, max(found) + 6


def _finish(axes: Axes, name: str, ends: tuple[float, float], rows: int, style: FigureStyle) -> None:
    axes.set_title(name, fontsize=style.size, pad=3, fontweight="bold" if style.titled else "normal")
    axes.set_xlim(*ends)
    axes.set_ylim(-0.6, rows - 0.4)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    for row in range(rows):
        axes.axhline(row, color=FAINT, linewidth=0.6, zorder=0.5)


def _names_width(lines: list[Line], style: FigureStyle) -> float:
    return max(name_width(line.name, style, style.small) for line in lines)


def _beside_width(lines: list[Line], style: FigureStyle) -> float:
    return max(0.08 + name_width(line.beside, style, style.print_size) for line in lines)


def _write_names(sheet: Sheet, lines: list[Line], bottom: float, step: float) -> None:
    """The name, and in a second column of small letters the registered one, or the flag of the disqualified."""
    style = sheet.style
    column = EDGE + _names_width(lines, style) + 0.08
    for place, line in enumerate(lines):
        y = bottom + (len(lines) - 0.5 - place) * step
        look: dict[str, Any] = {"named": True, "va": "center_baseline"}
        sheet.text(EDGE, y, line.name, size=style.small, **look)
        slant = "italic" if line.point.flag else "normal"
        sheet.text(column, y, line.beside, size=style.print_size, color=QUIET, fontstyle=slant, **look)
