"""Labels in a panel: names of defenses, and the flags of the disqualified."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from robustbench_dml.report.figures.label_placement import Placed, place, text_size
from robustbench_dml.report.figures.layout import POINT, Sheet, name_width
from robustbench_dml.report.figures.markers import Across, joined
from robustbench_dml.report.figures.series import Layer, Point, Series
from robustbench_dml.report.figures.style import INK, OUT, QUIET

LEADER = 9.0  # points between a mark and its label from which on a line leads there


def label_flags(sheet: Sheet, axes: Axes, layer: Layer, across: Across) -> None:
    """Write the disqualifying flag beside each point that has one."""
    size = sheet.style.small - 0.5
    flagged = [(point, x) for point in layer.points if point.flag and (x := across.of(point)) is not None]
    if not flagged:
        return
    points = [[_in_points(sheet, axes, x, point.values[layer.score])] for point, x in flagged]
    sizes = [text_size(point.flag, size) for point, _ in flagged]
    placed = place(points, sizes, obstacles(sheet, axes, layer, across), _bounds(sheet, axes))
    for (point, _), one in zip(flagged, placed, strict=True):
        _write(sheet, one, point.flag, size=size, color=QUIET, fontstyle="italic")


def label_series(sheet: Sheet, axes: Axes, layer: Layer, across: Across, more: np.ndarray, tolerated: float) -> bool:
    """Write the name of each series beside an end of its line, and the flags; False if there is no room for that.

    Args:
        sheet: with the panel.
        axes: the panel, with its limits.
        layer: what is drawn.
        across: its x axis.
        more: (N, 2) further points, in points from the corner of the figure, that had better not be covered.
        tolerated: square points that a label may hide.
    """
    size = sheet.style.small
    points, sizes = [], []
    texts: list[tuple[str, dict[str, Any]]] = []
    for series in layer.series:
        points.append(
            [_in_points(sheet, axes, across.of(point) or 0.0, point.values[layer.score]) for point in ends(series)]
        )
        sizes.append((name_width(series.shown, sheet.style, size) / POINT + 1, 1.1 * size))
        texts.append((series.shown, {"size": size, "color": INK, "named": True}))
    for point in layer.points:
        if point.flag:
            points.append([_in_points(sheet, axes, across.of(point) or 0.0, point.values[layer.score])])
            sizes.append(text_size(point.flag, size - 0.5))
            texts.append((point.flag, {"size": size - 0.5, "color": QUIET, "fontstyle": "italic"}))
    hindrances = np.concatenate([obstacles(sheet, axes, layer, across), _boxes(more, 1.0)])
    placed = place(points, sizes, hindrances, _bounds(sheet, axes))
    if any(one.hidden > tolerated for one in placed):
        return False
    for one, (text, look) in zip(placed, texts, strict=True):
        _write(sheet, one, text, **look)
    return True


def ends(series: Series) -> list[Point]:
    """The first and the last point of a series along eta, or all where it has no line."""
    known = sorted(series.ranked or series.points, key=lambda point: point.eta or 0)
    return [known[0], known[-1]] if len(known) > 1 else known


def obstacles(sheet: Sheet, axes: Axes, layer: Layer, across: Across) -> np.ndarray:
    """(N, 4) boxes of all marks, bars and lines of a panel, in points from the corner of the figure."""
    half = 0.6 * sheet.style.marker
    boxes = [np.empty((0, 4))]
    for series in layer.series:
        for point in series.points:
            x, y = across.of(point), point.values[layer.score]
            if x is None:
                continue
            seeds = [(across.of_seed(point, seed), seed[layer.score]) for seed in point.seeds]
            marks = [(x, y), *((place, height) for place, height in seeds if place is not None)]
            boxes.append(_boxes(np.array([_in_points(sheet, axes, *mark) for mark in marks]), half))
            low, high = point.intervals.get(layer.score, (y, y))
            boxes.append(_boxes(_between(_in_points(sheet, axes, x, low), _in_points(sheet, axes, x, high)), 0.8))
            if across.interval in point.intervals:
                low, high = point.intervals[across.interval]
                boxes.append(_boxes(_between(_in_points(sheet, axes, low, y), _in_points(sheet, axes, high, y)), 0.8))
        for strand in joined(series, across):
            path = [_in_points(sheet, axes, across.of(point) or 0.0, point.values[layer.score]) for point in strand]
            boxes += [_boxes(_between(one, other), 1.0) for one, other in pairwise(path)]
    return np.concatenate(boxes)


def _in_points(sheet: Sheet, axes: Axes, x: float, y: float) -> tuple[float, float]:
    across, up = sheet.inches(axes, x, y)
    return across / POINT, up / POINT


def _between(start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    """(N, 2) places on a line, about two points apart."""
    many = int(np.hypot(end[0] - start[0], end[1] - start[1]) / 2) + 2
    return np.linspace(start, end, many)


def _boxes(places: np.ndarray, half: float) -> np.ndarray:
    """(N, 4) boxes around (N, 2) places."""
    return np.concatenate([places - half, places + half], axis=1)


def _bounds(sheet: Sheet, axes: Axes) -> tuple[float, float, float, float]:
    box = axes.get_position()
    across, up = sheet.figure.get_size_inches() / POINT
    return box.x0 * across + 2, box.y0 * up + 2, box.x1 * across - 2, box.y1 * up - 2


def _write(sheet: Sheet, placed: Placed, text: str, **look: Any) -> None:
    left, bottom, right, top = (edge * POINT for edge in placed.box)
    x, y = (place * POINT for place in placed.point)
    near = (min(max(x, left), right), min(max(y, bottom), top))
    if np.hypot(near[0] - x, near[1] - y) > LEADER * POINT:
        sheet.line((x, near[0]), (y, near[1]), color=OUT, linewidth=0.5, zorder=1.5)
    sheet.text(left, (bottom + top) / 2, text, va="center_baseline", **look)
