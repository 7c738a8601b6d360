"""The trade-off plot: robustness against benign recall, with the Pareto front."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustbench_dml.report.figures.footnotes import joined_by, notes
from robustbench_dml.report.figures.marks import draw_legend, draw_series, from_zero, joined, size_with_legend
from robustbench_dml.report.figures.series import Layer
from robustbench_dml.report.figures.sheet import new_sheet
from robustbench_dml.report.figures.style import FigureStyle

HEADING = "Robustness against benign retrieval"
RECALL = "R@1"
FRONT, BELOW = "#C6C6C6", "#F6F6F6"  # the line of the front, and the area below it


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other equals or exceeds in both coordinates, by rising x."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(set(points), reverse=True):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front[::-1]


def draw_tradeoff(layer: Layer, style: FigureStyle) -> Figure:
    """Draw the score against benign recall at 1, with bars both ways and the front of the ranked points."""
    figure, [axes] = new_sheet(
        style,
        size_with_legend(layer, style),
        heading=HEADING + (", as reported" if layer.reported else ""),
        where=layer.where,
        notes=notes(
            layer,
            layer.points,
            joined_by(layer, [line for series in layer.series for line in joined(series, RECALL)]),
            front_note(layer),
        ),
    )
    axes.set_ylabel(layer.score_label)
    paint_recall(axes, layer)
    draw_legend(figure, axes, layer, [RECALL], style)
    return figure


def paint_recall(axes: Axes, layer: Layer) -> None:
    """Draw a panel of the score against benign recall, with the front."""
    draw_series(axes, layer, RECALL)
    axes.set_xlabel("benign recall at 1 (R@1, %)")
    axes.margins(0.08)
    from_zero(axes)
    _draw_front(axes, _front(layer))


def front_note(layer: Layer) -> str:
    """Return the footnote about the front, empty if nothing is ranked."""
    return "Grey steps: Pareto front" if _front(layer) else ""


def _front(layer: Layer) -> list[tuple[float, float]]:
    return pareto_front(
        (point.values[RECALL], point.values[layer.score]) for series in layer.series for point in series.ranked
    )


def _draw_front(axes: Axes, front: list[tuple[float, float]]) -> None:
    """Draw the front as steps to the edges of the panel."""
    if not front:
        return
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    xs, ys = zip((left, front[0][1]), *front, (front[-1][0], bottom), strict=True)
    axes.fill_between(xs, ys, bottom, step="pre", color=BELOW, linewidth=0, zorder=0.5)
    axes.step(xs, ys, where="pre", color=FRONT, linewidth=2, zorder=1.2, gid="pareto front")
    axes.set(xlim=(left, right), ylim=(bottom, top))
