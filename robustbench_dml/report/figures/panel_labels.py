"""Labels in a panel: names of defenses, and the flags of the disqualified."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from robustbench_dml.report.figures.label_placement import Box, Placed, place
from robustbench_dml.report.figures.layout import POINT, Sheet, name_width, text_size
from robustbench_dml.report.figures.markers import Plot
from robustbench_dml.report.figures.series import Point, Series
from robustbench_dml.report.figures.style import INK, OUT, QUIET

LEADER = 9.0  # least distance in points from a mark to its label for a line between them
TOLERATED = 6.0  # square points of marks that a name may hide


def write_labels(plot: Plot, *, named: bool) -> bool:
    """Write the flag of each disqualified point and, if `named`, the name of each series at an end of its line.

    Args:
        plot: the panel, with its series drawn and its limits set.
        named: whether to write names.

    Returns:
        False, and nothing is written, if there is no room for the names.
    """
    style = plot.sheet.style
    points: list[list[Point]] = []
    sizes, texts = [], []
    for series in plot.layer.series if named else ():
        points.append(_ends(series))
        sizes.append((name_width(series.shown, style, style.small) / POINT + 1, 1.1 * style.small))
        texts.append((series.shown, {"size": style.small, "color": INK, "named": True}))
    for point in plot.layer.points:
        if point.flag and plot.x_axis.of(point) is not None:
            points.append([point])
            sizes.append(text_size(point.flag, style.small - 0.5))
            texts.append((point.flag, {"size": style.small - 0.5, "color": QUIET, "fontstyle": "italic"}))
    anchors = [[(x / POINT, y / POINT) for x, y in map(plot.inches, group)] for group in points]
    placed = place(anchors, sizes, _obstacles(plot.sheet, plot.axes), _bounds(plot.sheet, plot.axes))
    if named and any(label.hidden > TOLERATED for label in placed):
        return False
    for label, (text, artist) in zip(placed, texts, strict=True):
        _write(plot.sheet, label, text, **artist)
    return True


def _ends(series: Series) -> list[Point]:
    """Return the first and last point of a series along eta; only ranked points count if there are any."""
    known = sorted(series.ranked or series.points, key=lambda point: point.eta or 0)
    return [known[0], known[-1]] if len(known) > 1 else known


def _obstacles(sheet: Sheet, axes: Axes) -> np.ndarray:
    """(N, 4) boxes of all markers, bars and lines of a panel, in points from the corner of the figure."""
    boxes = [np.empty((0, 4))]

    def add(vertices: np.ndarray, half: float, *, filled: bool) -> None:
        path = axes.transData.transform(vertices) / sheet.figure.dpi / POINT
        steps = [_between(start, end) for start, end in pairwise(path)] if filled else [path]
        boxes.extend(np.concatenate([step - half, step + half], axis=1) for step in steps)

    for line in axes.get_lines():
        filled = line.get_linestyle() != "None"
        add(np.asarray(line.get_xydata()), 1.0 if filled else 0.6 * sheet.style.marker, filled=filled)
    for bars in axes.collections:
        for segment in bars.get_segments() if isinstance(bars, LineCollection) else ():
            add(np.asarray(segment), 0.8, filled=True)
    return np.unique(np.concatenate(boxes), axis=0)


def _between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(N, 2) positions on a line, about two points apart."""
    return np.linspace(start, end, int(np.hypot(*(end - start)) / 2) + 2)


def _bounds(sheet: Sheet, axes: Axes) -> Box:
    box = axes.get_position()
    across, up = sheet.figure.get_size_inches() / POINT
    return box.x0 * across + 2, box.y0 * up + 2, box.x1 * across - 2, box.y1 * up - 2


def _write(sheet: Sheet, placed: Placed, text: str, **artist: Any) -> None:
    left, bottom, right, top = (edge * POINT for edge in placed.box)
    x, y = (position * POINT for position in placed.point)
    near = (min(max(x, left), right), min(max(y, bottom), top))
    if np.hypot(near[0] - x, near[1] - y) > LEADER * POINT:
        sheet.line((x, near[0]), (y, near[1]), color=OUT, linewidth=0.5, zorder=1.5)
    sheet.text(left, (bottom + top) / 2, text, va="center_baseline", **artist)
