"""The overview: the efficiency plot and the trade-off plot side by side, for a README or a paper."""

from __future__ import annotations

from matplotlib.figure import Figure

from robustbench_dml.report.figures.efficiency import cost_notes, known_costs, paint_costs
from robustbench_dml.report.figures.footnotes import notes
from robustbench_dml.report.figures.marks import draw_legend, size_with_legend
from robustbench_dml.report.figures.series import Layer
from robustbench_dml.report.figures.sheet import new_sheet
from robustbench_dml.report.figures.style import FigureStyle
from robustbench_dml.report.figures.tradeoff import RECALL, front_note, paint_recall

HEADING = "Robustness against training cost and against benign retrieval"


def draw_overview(layer: Layer, style: FigureStyle) -> Figure | None:
    """Draw the score against training cost, metered if it is known, and against benign recall at 1.

    Returns:
        None if no point has a known cost.
    """
    xs = known_costs(layer)[:1]
    if not xs:
        return None
    figure, [left, right] = new_sheet(
        style,
        (style.wide, size_with_legend(layer, style)[1]),
        heading=HEADING + (", as reported" if layer.reported else ""),
        where=layer.where,
        notes=notes(layer, layer.points, *cost_notes(layer, xs), front_note(layer)),
        grid=(1, 2),
        sharey=True,
    )
    left.set_ylabel(layer.score_label)
    paint_costs(left, layer, xs[0])
    paint_recall(right, layer)
    draw_legend(figure, right, layer, [RECALL], style)
    return figure
