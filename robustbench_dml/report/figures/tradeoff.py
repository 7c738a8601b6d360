"""The trade-off plot: robustness against benign recall, with the Pareto front."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustbench_dml.report.figures.footnotes import joined_by, notes
from robustbench_dml.report.figures.layout import EDGE, axis_room, from_zero, left_room, new_sheet
from robustbench_dml.report.figures.legend import Entry, draw_legend, legend_room
from robustbench_dml.report.figures.markers import Plot, XAxis, draw_series, joined
from robustbench_dml.report.figures.panel_labels import write_labels
from robustbench_dml.report.figures.series import Layer, Series
from robustbench_dml.report.figures.style import FigureStyle, series_styles

HEADING = "Robustness against benign retrieval"
RECALL = "R@1"
BENIGN = XAxis(of=lambda point: point.values[RECALL], of_seed=lambda _, seed: seed[RECALL], interval=RECALL, by="eta")
FRONT, BELOW = "#C6C6C6", "#F6F6F6"  # the line of the front, and the area below it
FEW = 10  # largest number of defenses named beside their marks


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other equals or exceeds in both coordinates, by rising x."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(set(points), reverse=True):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front[::-1]


def draw_tradeoff(layer: Layer, style: FigureStyle) -> Figure:
    """Draw the score against benign recall at 1, with bars both ways and the front of the ranked points.

    Names stand beside the marks if there are few and they fit, otherwise in a legend.
    """
    if style.titled and len(layer.series) <= FEW:
        figure = _draw(layer, style, legend=False)
        if figure is not None:
            return figure
    figure = _draw(layer, style, legend=True)
    assert figure is not None
    return figure


def _draw(layer: Layer, style: FigureStyle, *, legend: bool) -> Figure | None:
    """Return the figure, or None if `legend` is false and the names do not fit beside the marks."""
    beside, below = legend_room([series.shown for series in layer.series], style) if legend else (EDGE, 0.0)
    front = pareto_front(
        (point.values[RECALL], point.values[layer.score]) for series in layer.series for point in series.ranked
    )
    sheet = new_sheet(
        style,
        width=style.width,
        height=max(3.7, 0.17 * len(layer.series) + 0.2) if style.titled else 2.3,
        heading=HEADING + (", as reported" if layer.reported else ""),
        where=layer.where,
        notes=notes(
            layer,
            layer.points,
            joined_by([line for series in layer.series for line in joined(series, BENIGN)], layer.score),
            "Grey steps: Pareto front" + ("" if layer.reported else " of what is ranked") if front else "",
        ),
        axis=axis_room(style),
        below=below,
        beside=beside,
    )
    left = left_room(style)
    axes = sheet.axes(left, sheet.low, sheet.right - left, sheet.top - sheet.low)
    plot = Plot(sheet, axes, layer, series_styles(series.name for series in layer.series), BENIGN)
    draw_series(plot)
    _finish(axes, layer, style)
    _draw_front(axes, front, style)
    if not write_labels(plot, named=not legend):
        return None
    if legend:
        draw_legend(sheet, [_entry(plot, series) for series in layer.series])
    return sheet.figure


def _finish(axes: Axes, layer: Layer, style: FigureStyle) -> None:
    axes.set_xlabel("benign recall at 1 (R@1, %)", fontsize=style.size, labelpad=3)
    axes.set_ylabel(layer.score_label, fontsize=style.size, labelpad=4)
    axes.margins(0.08)
    from_zero(axes)
    axes.set_xlim(*axes.get_xlim())


def _draw_front(axes: Axes, front: list[tuple[float, float]], style: FigureStyle) -> None:
    """Draw the front as steps to the edges of the panel."""
    if not front:
        return
    left, bottom = axes.get_xlim()[0], axes.get_ylim()[0]
    corners = [(left, front[0][1])]
    for (x, y), (_, lower) in zip(front, [*front[1:], (0.0, bottom)], strict=True):
        corners += [(x, y), (x, lower)]
    xs, ys = zip(*corners, strict=True)
    axes.fill_between(xs, ys, bottom, color=BELOW, linewidth=0, zorder=0.5)
    axes.plot(
        xs, ys, color=FRONT, linewidth=0.32 * style.marker, zorder=1.2, gid="pareto front", scalex=False, scaley=False
    )


def _entry(plot: Plot, series: Series) -> Entry:
    return Entry(
        name=series.shown,
        style=plot.styles[series.name],
        hollow=plot.layer.reported or series.declared,
        lined=bool(joined(series, BENIGN)),
        out=not series.ranked,
        height=plot.inches(series.points[0])[1],
    )
