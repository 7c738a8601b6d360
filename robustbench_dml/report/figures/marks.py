"""The marks of the defenses in a panel, and their legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from robustbench_dml.report.figures.series import COST, PASSES, Layer, Point, Series, curves
from robustbench_dml.report.figures.style import INK, OUT, FigureStyle, SeriesStyle, series_styles
from robustbench_dml.report.names import shortened, typeset

SAME = 1.25  # largest ratio of the passes of one budget
NARROW = 24  # longest name in a legend of two columns, in characters
ETA: Mapping[str, Any] = {"fontsize": "x-small", "zorder": 5, "in_layout": False}  # of the number beside a mark
# Relative sizes that make all shapes look equally large.
SCALES: Mapping[Any, float] = {
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


def draw_series(axes: Axes, layer: Layer, x: str) -> None:
    """Draw all series of a layer, the best on top, with the score on the y axis.

    Args:
        axes: the panel.
        layer: the data of the figure.
        x: the value on the x axis; points without this value are left out.
    """
    styles = series_styles(series.name for series in layer.series)
    for place, series in enumerate(reversed(layer.series)):
        zorder = 3 + place / len(layer.series)
        own = styles[series.name]
        for line in joined(series, x):
            across, up = ([point.values[name] for point in line] for name in (x, layer.score))
            axes.plot(across, up, color=own.colour, linestyle=own.dash, zorder=zorder - 0.5)
        for point in series.points:
            if x not in point.values:
                continue
            seeds = [seed for seed in point.seeds if x in seed]
            draw_point(
                axes,
                own,
                point,
                (point.values[x], point.values[layer.score]),
                bars=(point.intervals.get(x), point.intervals.get(layer.score)),
                seeds=[(seed[x], seed[layer.score]) for seed in seeds],
                hollow=layer.reported or point.declared,
                gid=series.registered,
                zorder=2.6 if point.flag else zorder,
            )
            if layer.several_etas and point.eta and x != COST:
                near = (point.values[x], point.values[layer.score])
                axes.annotate(str(point.eta), near, (4, 3), textcoords="offset points", **ETA, color=own.colour)


def draw_point(
    axes: Axes,
    own: SeriesStyle,
    point: Point,
    position: tuple[float, float],
    *,
    bars: tuple[tuple[float, float] | None, tuple[float, float] | None],
    seeds: Sequence[tuple[float, float]],
    hollow: bool,
    gid: str,
    zorder: float,
) -> None:
    """Draw a mean with its bars, and its single seeds in small if there are several.

    Args:
        axes: the panel.
        own: the style of the defense.
        point: the point; its flag decides whether it is grey and crossed out.
        position: x and y.
        bars: the intervals across and upwards, None for no bar.
        seeds: x and y of the seeds.
        hollow: whether the mark is hollow.
        gid: the name of the marks in an SVG file.
        zorder: the drawing order.
    """
    marker, *cross = markers(own, hollow=hollow, out=bool(point.flag))
    for x, y in seeds if len(seeds) > 1 else ():
        small = {**marker, "markersize": 0.55 * marker["markersize"], "markeredgewidth": 0}
        axes.plot([x], [y], alpha=0.4, zorder=zorder - 0.3, **small)
    lengths = [None if bar is None else _lengths(value, bar) for value, bar in zip(position, bars, strict=True)]
    axes.errorbar(
        [position[0]],
        [position[1]],
        xerr=lengths[0],
        yerr=lengths[1],
        ecolor=marker["color"],
        elinewidth=0.65 * mpl.rcParams["lines.linewidth"],
        gid=gid,
        zorder=zorder,
        **marker,
    )
    for marker in cross:
        axes.plot([position[0]], [position[1]], gid=gid, zorder=zorder, **marker)


def joined(series: Series, x: str) -> list[list[Point]]:
    """Return the ranked points that each line joins, two or more a line; over passes, points of different budgets."""
    known = [point for point in series.ranked if x in point.values]
    lines = [line for line in curves(known, by=x) if len(line) > 1]
    if x != PASSES:
        return lines
    passes = [[point.values[x] for point in line] for line in lines]
    return [line for line, spent in zip(lines, passes, strict=True) if max(spent) > SAME * min(spent)]


def markers(own: SeriesStyle, *, hollow: bool, out: bool) -> list[dict[str, Any]]:
    """Return the markers of one point for matplotlib, the lowest first; disqualified points are grey and crossed."""
    size = mpl.rcParams["lines.markersize"]
    colour = OUT if out else own.colour
    marker = {
        "linestyle": "none",
        "color": colour,
        "marker": own.marker,
        "markersize": size * SCALES.get(own.marker, 1.0),
        "markerfacecolor": "white" if hollow else colour,
        "markeredgecolor": colour if hollow else "white",
        "markeredgewidth": 0.17 * size if hollow else 0.08 * size,
    }
    cross = {"linestyle": "none", "color": INK, "marker": "x", "markersize": 1.6 * size, "markeredgewidth": 0.11 * size}
    return [marker, cross] if out else [marker]


def draw_legend(figure: Figure, axes: Axes, layer: Layer, xs: Sequence[str], style: FigureStyle) -> None:
    """Draw the legend, the best defense first: beside the last panel, or above the panels in a paper.

    Args:
        figure: the figure.
        axes: its last panel.
        layer: the data of the figure.
        xs: the values on the x axes of the panels; a defense without any of them is left out.
        style: the figure's style.
    """
    styles = series_styles(series.name for series in layer.series)
    handles: list[Any] = []
    names: list[str] = []
    for series in layer.series:
        if any(x in point.values for x in xs for point in series.points):
            own = styles[series.name]
            line = Line2D([], [], color=own.colour, linestyle=own.dash)
            hollow = layer.reported or series.declared
            marks = [Line2D([], [], **marker) for marker in markers(own, hollow=hollow, out=not series.ranked)]
            handles.append(tuple([line, *marks] if any(joined(series, x) for x in xs) else marks))
            names.append(label(series))
    columns = 2 if max(map(len, names)) <= NARROW else 1
    names = [typeset(name) if style.typeset else name for name in names]
    if style.titled:
        legend = axes.legend(handles, names, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:
        legend = figure.legend(handles, names, loc="outside upper center", ncols=columns)
    for text in legend.get_texts():
        text.set_parse_math(style.typeset)


def size_with_legend(layer: Layer, style: FigureStyle) -> tuple[float, float]:
    """Return width and height of a figure that has room for its legend, in inches."""
    many = len(layer.series)
    return style.width, max(4.6, 0.18 * many + 1.4) if style.titled else 2.6 + 0.13 * many


def label(series: Series) -> str:
    """Return the name of a defense with its disqualifying flags, or as a baseline."""
    flags = sorted({point.flag for point in series.points if point.flag})
    if any(point.baseline for point in series.points):
        flags = ["baseline"]
    return f"{series.shown}: {shortened(', '.join(flags))}" if flags else series.shown


def from_zero(axes: Axes) -> None:
    """Start the y axis at 0, unless that cuts off a value or leaves half of the panel empty."""
    _, top = axes.get_ylim()
    if 0.02 * top < axes.dataLim.y0 < top / 2:
        axes.set_ylim(0, top)


def _lengths(value: float, interval: tuple[float, float]) -> np.ndarray:
    """(2, 1) lengths below and above. Rounding can move an end of an interval past its value by an ulp."""
    return np.maximum([[value - interval[0]], [interval[1] - value]], 0)
