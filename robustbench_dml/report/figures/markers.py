"""The marks of a defense in a panel: a marker for each mean, bars, single seeds, and lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from robustbench_dml.report.figures.layout import Sheet
from robustbench_dml.report.figures.series import Layer, Point, Series, curves
from robustbench_dml.report.figures.style import INK, OUT, FigureStyle, SeriesStyle

SAME = 1.25  # largest ratio of the passes of one budget
# Relative sizes that make all shapes look equally large.
SCALES = {
    "*": 1.5,
    "P": 1.15,
    "D": 0.85,
    "s": 0.92,
    "d": 1.1,
    "p": 1.1,
    (4, 1, 0): 1.45,
    (6, 1, 0): 1.5,
    (3, 1, 0): 1.5,
}


@dataclass(frozen=True, kw_only=True)
class XAxis:
    """The quantity on the x axis of a panel.

    Attributes:
        of: value of a point; None if unknown, which leaves the point out.
        of_seed: value of one seed of the point.
        interval: name of the interval drawn across, empty for none.
        by: order of the points on a line, see `series.curves`.
    """

    of: Callable[[Point], float | None]
    of_seed: Callable[[Point, Mapping[str, float]], float | None]
    interval: str = ""
    by: str = "eta"


@dataclass(frozen=True)
class Plot:
    """A panel and the series to draw in it.

    Attributes:
        sheet: the sheet that contains the panel.
        axes: the panel.
        layer: the data of the figure, with the series.
        styles: the style of each series, by name.
        x_axis: quantity on the x axis; the score is on the y axis.
    """

    sheet: Sheet
    axes: Axes
    layer: Layer
    styles: Mapping[str, SeriesStyle]
    x_axis: XAxis

    def inches(self, point: Point) -> tuple[float, float]:
        """Return the position of a point on the figure, at the left edge of the panel if its x is unknown."""
        x = self.x_axis.of(point)
        return self.sheet.inches(self.axes, self.axes.get_xlim()[0] if x is None else x, point.values[self.layer.score])


def draw_series(plot: Plot) -> None:
    """Draw all series of a plot, the best on top."""
    for place, series in enumerate(reversed(plot.layer.series)):
        zorder = 3 + place / len(plot.layer.series)
        _draw_lines(plot, series, zorder - 0.5)
        for point in series.points:
            if plot.x_axis.of(point) is not None:
                _draw_point(plot, series, point, zorder)


def joined(series: Series, x_axis: XAxis) -> list[list[Point]]:
    """Return the ranked points that each line joins, two or more a line; over passes, points of different budgets."""
    known = [point for point in series.ranked if x_axis.of(point) is not None]
    lines = [line for line in curves(known, by=x_axis.by) if len(line) > 1]
    if x_axis.by != "passes":
        return lines
    return [line for line in lines if not one_budget([x_axis.of(point) or 0.0 for point in line])]


def one_budget(passes: Sequence[float]) -> bool:
    """Return whether passes differ by no more than a budget leaves unspent."""
    return max(passes) <= SAME * min(passes)


def point_markers(series_style: SeriesStyle, style: FigureStyle, *, hollow: bool, out: bool) -> list[dict[str, Any]]:
    """Return the markers of one point for matplotlib, the lowest first; disqualified points are grey and crossed."""
    if not out:
        return [_marker(series_style, style, hollow=hollow)]
    width = 0.11 * style.marker
    cross = {"linestyle": "none", "marker": "x", "color": INK, "markersize": 1.6 * style.marker}
    return [
        _marker(replace(series_style, colour=OUT), style, hollow=hollow),
        {**cross, "markeredgewidth": width},
    ]


def seed_marker(series_style: SeriesStyle, colour: str, style: FigureStyle) -> dict[str, Any]:
    """Return the small marker of a single seed for matplotlib."""
    return {**_marker(replace(series_style, colour=colour), style, scale=0.55), "markeredgewidth": 0}


def bars(value: float, interval: tuple[float, float]) -> np.ndarray:
    """(2, 1) lengths below and above. Rounding can move an end of an interval past its value by an ulp."""
    return np.maximum([[value - interval[0]], [interval[1] - value]], 0)


def _marker(
    series_style: SeriesStyle, style: FigureStyle, *, hollow: bool = False, scale: float = 1.0
) -> dict[str, Any]:
    return {
        "linestyle": "none",
        "marker": series_style.marker,
        "markersize": scale * style.marker * SCALES.get(series_style.marker, 1.0),
        "markerfacecolor": "white" if hollow else series_style.colour,
        "markeredgecolor": series_style.colour if hollow else "white",
        "markeredgewidth": 0.17 * style.marker if hollow else 0.08 * style.marker,
    }


def _draw_lines(plot: Plot, series: Series, zorder: float) -> None:
    for line in joined(series, plot.x_axis):
        plot.axes.plot(
            [plot.x_axis.of(point) or 0.0 for point in line],
            [point.values[plot.layer.score] for point in line],
            color=plot.styles[series.name].colour,
            linestyle=plot.styles[series.name].dash,
            linewidth=0.2 * plot.sheet.style.marker,
            zorder=zorder,
        )


def _draw_point(plot: Plot, series: Series, point: Point, zorder: float) -> None:
    """Draw the bars, the single seeds and the marker of a point."""
    style, series_style = plot.sheet.style, plot.styles[series.name]
    score, across = plot.layer.score, plot.x_axis.interval
    x, y = plot.x_axis.of(point) or 0.0, point.values[score]
    colour = OUT if point.flag else series_style.colour
    plot.axes.errorbar(
        [x],
        [y],
        xerr=bars(x, point.intervals[across]) if across in point.intervals else None,
        yerr=bars(y, point.intervals[score]) if score in point.intervals else None,
        fmt="none",
        ecolor=colour,
        elinewidth=0.13 * style.marker,
        alpha=0.8,
        zorder=zorder - 0.4,
    )
    for seed in point.seeds if len(point.seeds) > 1 else ():
        if (x_seed := plot.x_axis.of_seed(point, seed)) is not None:
            small = seed_marker(series_style, colour, style)
            plot.axes.plot([x_seed], [seed[score]], alpha=0.4, zorder=zorder - 0.3, **small)
    hollow = plot.layer.reported or point.declared
    for marker in point_markers(series_style, style, hollow=hollow, out=bool(point.flag)):
        plot.axes.plot([x], [y], zorder=2.6 if point.flag else zorder, gid=series.registered, **marker)
