"""The profile: every attack of a protocol on the scale of its score, defense by defense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustbench_dml.report.figures.footnotes import notes
from robustbench_dml.report.figures.layout import EDGE, POINT, Sheet, name_width, new_sheet
from robustbench_dml.report.figures.markers import bars, point_markers, seed_marker
from robustbench_dml.report.figures.series import Layer, Point, Series
from robustbench_dml.report.figures.style import FAINT, OUT, QUIET, FigureStyle, SeriesStyle, series_styles
from robustbench_dml.report.names import shortened
from robustbench_dml.spec.columns import Column

HEADING = "Attack by attack"
MOST = 12  # largest number of defenses shown
ACROSS = 5  # panels side by side
GAP = 0.13  # distance between panels, in inches


@dataclass(frozen=True)
class Line:
    """A defense at its best setting.

    Attributes:
        series: the defense's series.
        point: its best point.
    """

    series: Series
    point: Point

    @property
    def name(self) -> str:
        """The name, with eta if the series has several."""
        several = len({point.eta for point in self.series.points}) > 1
        return f"{self.series.shown}, \u03b7 = {self.point.eta}" if several else self.series.shown

    @property
    def remark(self) -> str:
        """The disqualifying flag, else the registered name if it differs."""
        registered = "" if self.series.name.lower() == self.series.registered else self.series.registered
        return shortened(self.point.flag or registered)


def draw_profile(layer: Layer, style: FigureStyle) -> Figure:
    """Draw a panel for each attack, with the means of the best defenses and their bars, the best defense on top."""
    lines = _lines(layer)
    panels = list(layer.columns.items())
    across = min(ACROSS, len(panels))
    step = (1.75 if style.titled else 1.5) * style.small * POINT
    head, height, foot = 1.9 * style.size * POINT, len(lines) * step, 2.0 * style.small * POINT
    sheet = new_sheet(
        style,
        width=style.wide,
        height=-(-len(panels) // across) * (head + foot + height),
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
    styles = series_styles(series.name for series in layer.series)
    names = EDGE + max(name_width(line.name, style, style.small) for line in lines)
    left = names + max(0.08 + name_width(line.remark, style, style.print_size) for line in lines) + 0.1
    width = (style.wide - left - EDGE - 0.05 - (across - 1) * GAP) / across
    ends = _ends(layer, lines)
    for index, (name, column) in enumerate(panels):
        row, place = divmod(index, across)
        bottom = sheet.top - row * (head + foot + height) - head - height
        axes = sheet.axes(left + place * (width + GAP), bottom, width, height)
        _draw_panel(axes, layer, name, column, lines, styles, style)
        _finish(axes, name, ends, len(lines), style)
        axes.set_xticks([0, 50, 100] if 50 * width > 0.26 * (ends[1] - ends[0]) else [0, 100])
        if place == 0:
            _write_names(sheet, lines, names + 0.08, bottom, step)
    return sheet.figure


def on_scale(column: Column, point: Point, name: str) -> tuple[float, tuple[float, float] | None]:
    """Return the value of an attack and its interval on the scale of the score; 100 is unmoved."""
    value = column.ers(point.values[name])
    if name not in point.intervals:
        return value, None
    low, high = sorted(column.ers(end) for end in point.intervals[name])
    return value, (low, high)


def _lines(layer: Layer) -> list[Line]:
    """The best defenses at their best points, the disqualified last."""
    best = [Line(series, series.points[0]) for series in layer.series]
    return sorted(best, key=lambda line: bool(line.point.flag))[:MOST]


def _choice(layer: Layer, lines: Sequence[Line]) -> str:
    settings = "Each at its best setting" if len(layer.points) > len(layer.series) else ""
    if len(lines) == len(layer.series):
        return settings
    return f"{settings}{'; shown' if settings else 'Shown'}: the best {len(lines)} of {len(layer.series)} defenses"


def _draw_panel(
    axes: Axes,
    layer: Layer,
    name: str,
    column: Column,
    lines: Sequence[Line],
    styles: Mapping[str, SeriesStyle],
    style: FigureStyle,
) -> None:
    for place, line in enumerate(lines):
        y = len(lines) - 1 - place
        point, series_style = line.point, styles[line.series.name]
        value, interval = on_scale(column, point, name)
        colour = OUT if point.flag else series_style.colour
        score = point.values[layer.score]
        axes.plot([score, score], [y - 0.36, y + 0.36], color=OUT, linewidth=0.9, zorder=1.5)
        for seed in point.seeds if len(point.seeds) > 1 else ():
            small = seed_marker(series_style, colour, style)
            axes.plot([column.ers(seed[name])], [y], alpha=0.4, zorder=2.3, **small)
        if interval is not None:
            width = 0.15 * style.marker
            axes.errorbar(
                [value], [y], xerr=bars(value, interval), fmt="none", ecolor=colour, elinewidth=width, zorder=2.2
            )
        for marker in point_markers(series_style, style, hollow=layer.reported, out=bool(point.flag)):
            axes.plot([value], [y], zorder=3, gid=line.series.registered, **marker)


def _ends(layer: Layer, lines: Sequence[Line]) -> tuple[float, float]:
    """Limits of the common x axis: 0 to 100 and all values beyond."""
    values = [0.0, 100.0]
    for name, column in layer.columns.items():
        for line in lines:
            value, interval = on_scale(column, line.point, name)
            values += [value, *(interval or ())]
    return min(values) - 6, max(values) + 6


def _finish(axes: Axes, name: str, ends: tuple[float, float], rows: int, style: FigureStyle) -> None:
    axes.set_title(name, fontsize=style.size, pad=3, fontweight="bold" if style.titled else "normal")
    axes.set_xlim(*ends)
    axes.set_ylim(-0.6, rows - 0.4)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    for row in range(rows):
        axes.axhline(row, color=FAINT, linewidth=0.6, zorder=0.5)


def _write_names(sheet: Sheet, lines: Sequence[Line], remarks: float, bottom: float, step: float) -> None:
    """Write the names, and the remarks from this x in small letters."""
    style = sheet.style
    artist: dict[str, Any] = {"named": True, "va": "center_baseline"}
    for place, line in enumerate(lines):
        y = bottom + (len(lines) - 0.5 - place) * step
        slant = "italic" if line.point.flag else "normal"
        sheet.text(EDGE, y, line.name, size=style.small, **artist)
        sheet.text(remarks, y, line.remark, size=style.print_size, color=QUIET, fontstyle=slant, **artist)
