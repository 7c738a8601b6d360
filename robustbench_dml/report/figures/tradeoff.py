"""The trade-off plot: robustness against benign recall, with the front of what no other beats in both."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustbench_dml.report.figures.footnotes import along, declared, notes
from robustbench_dml.report.figures.layout import EDGE, POINT, Sheet, axis_room, from_zero, left_room, new_sheet
from robustbench_dml.report.figures.legend import Entry, key_below, key_beside, key_height, key_width
from robustbench_dml.report.figures.markers import Across, draw_layer, joined
from robustbench_dml.report.figures.panel_labels import label_flags, label_series
from robustbench_dml.report.figures.series import Layer
from robustbench_dml.report.figures.style import FigureStyle, SeriesStyle, series_styles

HEADING = "Robustness against benign retrieval"
RECALL = "R@1"
BENIGN = Across(of=lambda point: point.values[RECALL], of_seed=lambda _, seed: seed[RECALL], interval=RECALL, by="eta")
FRONT, BELOW = "#C6C6C6", "#F6F6F6"  # line of the front, and what lies below it
FEW = 10  # so many defenses can be named beside their marks
TOLERATED = 6.0  # square points of marks that a label may hide


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that no other equals or exceeds in both and exceeds in one, by rising x; both are better where greater."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(set(points), reverse=True):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front[::-1]


def draw_tradeoff(layer: Layer, style: FigureStyle) -> Figure:
    """Score against benign recall at 1, the front of the ranked ones, and bars both ways."""
    if style.titled and len(layer.series) <= FEW:
        named = _draw(layer, style, keyed=False)
        if named is not None:
            return named
    keyed = _draw(layer, style, keyed=True)
    assert keyed is not None
    return keyed


def _draw(layer: Layer, style: FigureStyle, *, keyed: bool) -> Figure | None:
    """None if the names do not fit beside the marks and there is no key."""
    names = [one.shown for one in layer.series]
    below = key_height(names, style, style.width - 2 * EDGE) if keyed and not style.titled else 0.0
    beside = key_width(names, style) + 0.22 if keyed and style.titled else EDGE
    axis = axis_room(style)
    height = max(3.7, 0.17 * len(names) + 0.2) if style.titled else 2.3
    front = pareto_front(
        (point.values[RECALL], point.values[layer.score]) for one in layer.series for point in one.ranked
    )
    sheet = new_sheet(
        style,
        width=style.width,
        body=height + axis + below,
        heading=HEADING + (", as reported" if layer.reported else ""),
        where=layer.where,
        notes=notes(
            layer,
            layer.points,
            declared(layer.points),
            along([line for one in layer.series for line in joined(one, BENIGN)], layer.score),
            "Grey steps: Pareto front" + ("" if layer.reported else " of what is ranked") if front else "",
        ),
    )
    low = sheet.bottom + axis + below
    axes = sheet.axes(left_room(style), low, sheet.width - beside - left_room(style), sheet.top - low)
    look = series_styles(one.name for one in layer.series)
    draw_layer(axes, layer, look, style, BENIGN)
    _finish(axes, layer, style)
    steps = _draw_front(axes, front, style)
    corners = np.array([sheet.inches(axes, x, y) for x, y in steps]).reshape(-1, 2) / POINT
    if not keyed:
        return sheet.figure if label_series(sheet, axes, layer, BENIGN, _along(corners), TOLERATED) else None
    label_flags(sheet, axes, layer, BENIGN)
    entries = _entries(sheet, axes, layer, look)
    if style.titled:
        key_beside(sheet, entries, sheet.width - beside + 0.2, low, sheet.top)
    else:
        key_below(sheet, entries, EDGE, sheet.bottom)
    return sheet.figure


def _finish(axes: Axes, layer: Layer, style: FigureStyle) -> None:
    axes.set_xlabel("benign recall at 1 (R@1, %)", fontsize=style.size, labelpad=3)
    axes.set_ylabel(layer.score_label, fontsize=style.size, labelpad=4)
    axes.margins(0.08)
    from_zero(axes)
    axes.set_xlim(*axes.get_xlim())


def _draw_front(axes: Axes, front: list[tuple[float, float]], style: FigureStyle) -> list[tuple[float, float]]:
    """Draw the steps to the edges of the panel; returns their corners."""
    if not front:
        return []
    left, bottom = axes.get_xlim()[0], axes.get_ylim()[0]
    corners = [(left, front[0][1])]
    for (x, y), (_, lower) in zip(front, [*front[1:], (0.0, bottom)], strict=True):
        corners += [(x, y), (x, lower)]
    xs, ys = zip(*corners, strict=True)
    axes.fill_between(xs, ys, bottom, color=BELOW, linewidth=0, zorder=0.5)
    axes.plot(
        xs, ys, color=FRONT, linewidth=0.32 * style.marker, zorder=1.2, gid="pareto front", scalex=False, scaley=False
    )
    return corners


def _along(corners: np.ndarray) -> np.ndarray:
    """(N, 2) places along a line through (K, 2) corners."""
    parts = [np.linspace(one, other, int(np.abs(other - one).sum() / 2) + 2) for one, other in pairwise(corners)]
    return np.concatenate(parts) if parts else np.empty((0, 2))


def _entries(sheet: Sheet, axes: Axes, layer: Layer, look: dict[str, SeriesStyle]) -> list[Entry]:
    return [
        Entry(
            name=one.shown,
            look=look[one.name],
            hollow=layer.reported or all(point.declared for point in one.points),
            lined=bool(joined(one, BENIGN)),
            out=not one.ranked,
            height=sheet.inches(axes, one.points[0].values[RECALL], one.points[0].values[layer.score])[1],
        )
        for one in layer.series
    ]
