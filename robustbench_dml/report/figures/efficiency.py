"""The efficiency plot: robustness against training cost, as metered and as the papers count it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, Locator, LogLocator, NullLocator

from robustbench_dml.report.figures.footnotes import joined_by, notes
from robustbench_dml.report.figures.marks import draw_legend, draw_series, from_zero, joined, size_with_legend
from robustbench_dml.report.figures.series import COST, PASSES, Layer
from robustbench_dml.report.figures.sheet import new_sheet
from robustbench_dml.report.figures.style import QUIET, FigureStyle

HEADING = "Robustness against training cost"
LABELS = {PASSES: "image passes, metered", COST: "passes per iteration, \u03b7\u00a0+\u00a01"}
USUAL = (1, 2, 3, 5, 9, 17, 33)  # eta + 1 of the papers
FAR = 200  # ratio of the passes from which only powers of ten have ticks


def draw_efficiency(layer: Layer, style: FigureStyle) -> Figure | None:
    """Draw the score against metered passes and against eta + 1.

    Points of unknown cost are left out, and so is a panel without points.

    Returns:
        None if no point has a known cost.
    """
    xs = known_costs(layer)
    if not xs:
        return None
    known = [point for point in layer.points if any(x in point.values for x in xs)]
    figure, panels = new_sheet(
        style,
        size_with_legend(layer, style),
        heading=HEADING + (", as reported" if layer.reported else ""),
        where=layer.where,
        notes=notes(layer, known, *cost_notes(layer, xs)),
        grid=(1, len(xs)),
        sharey=True,
    )
    for axes, x in zip(panels, xs, strict=True):
        paint_costs(axes, layer, x)
    panels[0].set_ylabel(layer.score_label)
    from_zero(panels[0])
    draw_legend(figure, panels[-1], layer, xs, style)
    return figure


def known_costs(layer: Layer) -> list[str]:
    """Return the kinds of training cost that some points have, metered passes first."""
    return [x for x in LABELS if any(x in point.values for point in layer.points)]


def cost_notes(layer: Layer, xs: Sequence[str]) -> tuple[str, ...]:
    """Return the footnotes about lines, baselines without training and points without a cost."""
    lines = [line for series in layer.series for x in xs for line in joined(series, x)]
    free, without = _free(layer), sum(not any(x in point.values for x in xs) for point in layer.points)
    missing = without - len(free)
    return (
        joined_by(layer, lines),
        "Dotted: baselines without training" if free else "",
        f"Left out: {missing} without known training cost" if missing else "",
    )


def paint_costs(axes: Axes, layer: Layer, x: str) -> None:
    """Draw a panel of the score against one kind of training cost, with baselines without training as lines."""
    draw_series(axes, layer, x)
    _finish(axes, x, [point.values[x] for point in layer.points if x in point.values])
    for name, score in _free(layer).items():
        axes.axhline(score, color=QUIET, linestyle=":", linewidth=1, zorder=1.5, gid=name)
        axes.annotate(name, (0.99, score), xycoords=("axes fraction", "data"), ha="right", va="bottom", color=QUIET)


def _free(layer: Layer) -> dict[str, float]:
    """Return the scores of the baselines that train nothing, by name."""
    return {
        series.shown: point.values[layer.score]
        for series in layer.series
        for point in series.points
        if point.baseline and COST not in point.values
    }


def _finish(axes: Axes, x: str, costs: list[float]) -> None:
    """Label a logarithmic axis that holds all costs."""
    low, high = min(costs), max(costs)
    ticks: Locator = LogLocator(subs=(1,) if high / low > FAR else (1, 2, 5))
    usual = [cost for cost in USUAL if low / 1.2 <= cost <= high * 1.2]
    if x == COST and usual:
        ticks = FixedLocator(usual)
    axes.set_xscale("log")
    axes.set_xlim(low / 1.6, high * 1.6)
    axes.xaxis.set_major_locator(ticks)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel(LABELS[x])
