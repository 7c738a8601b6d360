"""The marks of a defense in a panel: a marker for each mean, bars, single seeds, and the lines that join them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from robustbench_dml.report.figures.series import Layer, Point, Series, strands
from robustbench_dml.report.figures.style import INK, OUT, FigureStyle, SeriesStyle

SAME = 1.25  # passes that differ by no more than this factor are of one budget
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
class Across:
    """What stands on the x axis of a panel.

    Attributes:
        of: the value of a point; None where it is not known, and the point is left out.
        of_seed: the value of one of its seeds.
        interval: which of a point's intervals are drawn across, if any.
        by: what lines join points by, see `series.strands`.
    """

    of: Callable[[Point], float | None]
    of_seed: Callable[[Point, Mapping[str, float]], float | None]
    interval: str = ""
    by: str = "eta"


def marker(look: SeriesStyle, style: FigureStyle, *, hollow: bool = False, scale: float = 1.0) -> dict[str, Any]:
    """A marker as matplotlib draws it; those of all shapes look equally large."""
    return {
        "linestyle": "none",
        "marker": look.marker,
        "markersize": scale * style.marker * SCALES.get(look.marker, 1.0),
        "markerfacecolor": "white" if hollow else look.colour,
        "markeredgecolor": look.colour if hollow else "white",
        "markeredgewidth": 0.17 * style.marker if hollow else 0.08 * style.marker,
    }


def draw_layer(axes: Axes, layer: Layer, looks: Mapping[str, SeriesStyle], style: FigureStyle, across: Across) -> None:
    """All series of a layer against their score; the best lies on top."""
    for place, series in enumerate(reversed(layer.series)):
        _draw_series(axes, series, layer, looks[series.name], style, across, zorder=3 + place / len(layer.series))


def joined(series: Series, across: Across) -> list[list[Point]]:
    """The points that lines join, in their order: ranked ones, at least two, and of different passes if over these."""
    known = [point for point in series.ranked if across.of(point) is not None]
    found = [strand for strand in strands(known, by=across.by) if len(strand) > 1]
    if across.by != "passes":
        return found
    return [strand for strand in found if not one_budget([across.of(point) or 0.0 for point in strand])]


def one_budget(passes: Sequence[float]) -> bool:
    """Whether these passes differ by no more than what a budget leaves unspent."""
    return max(passes) <= SAME * min(passes)


def mark(look: SeriesStyle, style: FigureStyle, *, hollow: bool, out: bool) -> list[dict[str, Any]]:
    """What is drawn for one point, the lowest first; what is out is grey and has a cross over it."""
    if not out:
        return [marker(look, style, hollow=hollow)]
    cross = {"linestyle": "none", "marker": "x", "color": INK, "markersize": 1.6 * style.marker}
    faded = SeriesStyle(OUT, look.marker, look.dash)
    return [marker(faded, style, hollow=hollow), {**cross, "markeredgewidth": 0.11 * style.marker}]


def bars(value: float, interval: tuple[float, float]) -> np.ndarray:
    """(2, 1) lengths below and above; rounding can put an end of an interval past its value by an ulp."""
    return np.maximum([[value - interval[0]], [interval[1] - value]], 0)


def _draw_series(
    axes: Axes, series: Series, layer: Layer, look: SeriesStyle, style: FigureStyle, across: Across, *, zorder: float
) -> None:
    for strand in joined(series, across):
        axes.plot(
            [across.of(point) or 0.0 for point in strand],
            [point.values[layer.score] for point in strand],
            color=look.colour,
            linestyle=look.dash,
            linewidth=0.2 * style.marker,
            zorder=zorder - 0.5,
        )
    for point in series.points:
        x, y = across.of(point), point.values[layer.score]
        if x is None:
            continue
        colour = OUT if point.flag else look.colour
        axes.errorbar(
            [x],
            [y],
            xerr=bars(x, point.intervals[across.interval]) if across.interval in point.intervals else None,
            yerr=bars(y, point.intervals[layer.score]) if layer.score in point.intervals else None,
            fmt="none",
            ecolor=colour,
            elinewidth=0.13 * style.marker,
            alpha=0.8,
            zorder=zorder - 0.4,
        )
        seeds = [(across.of_seed(point, seed), seed[layer.score]) for seed in point.seeds if len(point.seeds) > 1]
        for x_seed, y_seed in seeds:
            if x_seed is not None:
                axes.plot([x_seed], [y_seed], alpha=0.4, zorder=zorder - 0.3, **seed_marker(colour, look, style))
        hollow = layer.reported or point.declared
        for one in mark(look, style, hollow=hollow, out=bool(point.flag)):
            axes.plot([x], [y], zorder=2.6 if point.flag else zorder, gid=series.registered, **one)


def seed_marker(colour: str, look: SeriesStyle, style: FigureStyle) -> dict[str, Any]:
    """The small marker of a single seed."""
    return {**marker(SeriesStyle(colour, look.marker, look.dash), style, scale=0.55), "markeredgewidth": 0}
