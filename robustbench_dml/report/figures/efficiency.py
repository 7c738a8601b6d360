"""The efficiency plot: robustness against training cost, as metered and as the papers count it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator

from robustbench_dml.report.figures.footnotes import joined_by, notes
from robustbench_dml.report.figures.layout import POINT, Sheet, axis_room, from_zero, left_room, new_sheet, wrap
from robustbench_dml.report.figures.legend import Entry, draw_legend, legend_room
from robustbench_dml.report.figures.markers import SAME, Plot, XAxis, draw_series, joined, one_budget
from robustbench_dml.report.figures.panel_labels import write_labels
from robustbench_dml.report.figures.series import PASSES, Layer, Series
from robustbench_dml.report.figures.style import FigureStyle, series_styles

HEADING = "Robustness against training cost"
WIDE = 5  # ratio of the passes from which their axis is logarithmic
NARROW = 0.42  # relative width of the passes panel for one budget
FEW = 10  # largest number of strokes, and of lines to the legend
APART = 0.12  # distance between panels, in inches
USUAL = (1, 2, 3, 5, 9, 17, 33)  # eta + 1 of the papers


@dataclass(frozen=True)
class Panel:
    """One of the two panels.

    Attributes:
        x_axis: the quantity on the x axis.
        label: the label of the x axis.
        finish: sets limits and ticks, given the values on the axis.
        width: relative to the other panel.
    """

    x_axis: XAxis
    label: str
    finish: Callable[[Axes, list[float]], None]
    width: float = 1.0


METERED = XAxis(of=lambda point: point.passes, of_seed=lambda _, seed: seed.get(PASSES), by="passes")
COUNTED = XAxis(of=lambda point: point.cost, of_seed=lambda point, _: point.cost, by="eta")


def draw_efficiency(layer: Layer, style: FigureStyle) -> Figure | None:
    """Draw the score against metered passes and against eta + 1.

    Points of unknown cost are left out, and so is a panel without points.

    Returns:
        None if no point has a known cost.
    """
    panels = _panels(layer)
    if not panels:
        return None
    shown = [
        series
        for series in layer.series
        if any(panel.x_axis.of(point) is not None for panel in panels for point in series.points)
    ]
    names = [_name(series) for series in shown]
    beside, below = legend_room(names, style)
    widths = _widths(panels, style.width - beside - left_room(style))
    labels = [wrap(panel.label, width / POINT, style.size) for panel, width in zip(panels, widths, strict=True)]
    height = max(3.1, 0.17 * len(shown) + 0.2) if style.titled else 1.75
    sheet = new_sheet(
        style,
        width=style.width,
        height=height,
        heading=HEADING + (", as reported" if layer.reported else ""),
        where=layer.where,
        notes=_notes(layer, panels),
        axis=axis_room(style, lines=max(map(len, labels))),
        below=below,
        beside=beside,
    )
    plots = _draw_panels(sheet, layer, panels, widths, sheet.top - height)
    for plot, lines in zip(plots, labels, strict=True):
        plot.axes.set_xlabel("\n".join(lines), fontsize=style.size, labelpad=3)
    write_labels(plots[-1], named=False)
    entries = [_entry(plots, series) for series in shown]
    if len(entries) > FEW:
        entries = [replace(entry, end=None) for entry in entries]
    draw_legend(sheet, entries)
    return sheet.figure


def _panels(layer: Layer) -> list[Panel]:
    passes = _known(layer, METERED)
    metered = Panel(METERED, "image passes of a training, metered", _finish_passes)
    counted = Panel(COUNTED, "passes per iteration as papers count, \u03b7\u00a0+\u00a01", _finish_cost)
    if not _known(layer, COUNTED):
        return [metered] if passes else []
    if passes and one_budget(passes):
        metered = Panel(METERED, "image passes, metered", _finish_passes, NARROW)
    return [metered, counted] if passes else [counted]


def _known(layer: Layer, x_axis: XAxis) -> list[float]:
    return [x for point in layer.points if (x := x_axis.of(point)) is not None]


def _draw_panels(
    sheet: Sheet, layer: Layer, panels: Sequence[Panel], widths: Sequence[float], low: float
) -> list[Plot]:
    left = left_room(sheet.style)
    styles = series_styles(series.name for series in layer.series)
    plots: list[Plot] = []
    for panel, width in zip(panels, widths, strict=True):
        axes = sheet.axes(left, low, width, sheet.top - low, beside=plots[0].axes if plots else None)
        plots.append(Plot(sheet, axes, layer, styles, panel.x_axis))
        draw_series(plots[-1])
        panel.finish(axes, _known(layer, panel.x_axis) + (_draw_metered(plots[-1]) if panel.x_axis is COUNTED else []))
        left += width + APART
    axes = plots[0].axes
    axes.set_ylabel(layer.score_label, fontsize=sheet.style.size, labelpad=4)
    from_zero(axes)
    return plots


def _widths(panels: Sequence[Panel], room: float) -> list[float]:
    """Widths of the panels, in inches."""
    unit = (room - APART * (len(panels) - 1)) / sum(panel.width for panel in panels)
    return [unit * panel.width for panel in panels]


def _finish_passes(axes: Axes, passes: list[float]) -> None:
    low, high = min(passes), max(passes)
    if high > WIDE * max(low, 1):
        axes.set_xscale("log")
        axes.set_xlim(max(low, 1) / 1.5, high * 1.5)
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high / max(low, 1) > 200 else (1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
    elif one_budget(passes):
        axes.set_xlim(low / SAME, high * SAME)
        axes.xaxis.set_major_locator(FixedLocator([float(f"{(low + high) / 2:.1g}")]))
    else:
        axes.set_xlim(0, 1.08 * high)
        axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _finish_cost(axes: Axes, costs: list[float]) -> None:
    low, high = min(costs), max(costs)
    axes.set_xscale("log", base=2)
    axes.set_xlim(low / 1.35, high * 1.35)
    usual = [cost for cost in USUAL if low / 1.2 <= cost <= high * 1.2]
    axes.xaxis.set_major_locator(FixedLocator(usual) if usual else LogLocator(base=2))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def _draw_metered(plot: Plot) -> list[float]:
    """Draw a dotted line from eta + 1 to the metered passes per iteration where these are fewer; return the latter."""
    cheaper, marker = _cheaper(plot.layer), plot.sheet.style.marker
    for name, metered, cost, y in cheaper:
        colour = plot.styles[name].colour
        plot.axes.plot([metered, cost], [y, y], color=colour, linewidth=0.12 * marker, linestyle=":", zorder=2.1)
        plot.axes.plot([metered], [y], color=colour, marker="|", markersize=marker, zorder=2.2)
    return [metered for _, metered, _, _ in cheaper]


def _cheaper(layer: Layer) -> list[tuple[str, float, float, float]]:
    """Name, metered and counted passes per iteration and score of the points drawn with a stroke; none if too many."""
    cheaper = [
        (series.name, point.metered, point.cost, point.values[layer.score])
        for series in layer.series
        for point in series.ranked
        if point.metered is not None and point.cost is not None and point.metered < 0.9 * point.cost
    ]
    return cheaper if len(cheaper) <= FEW else []


def _notes(layer: Layer, panels: Sequence[Panel]) -> str:
    known = [point for point in layer.points if any(panel.x_axis.of(point) is not None for panel in panels)]
    lines = [line for series in layer.series for panel in panels for line in joined(series, panel.x_axis)]
    missing = len(layer.points) - len(known)
    return notes(
        layer,
        known,
        joined_by(lines, layer.score),
        "Upright stroke: passes per iteration as metered, where fewer" if _cheaper(layer) else "",
        f"Left out: {missing} of unknown training cost" if missing else "",
    )


def _name(series: Series) -> str:
    return f"{series.shown} (declared)" if series.declared else series.shown


def _entry(plots: Sequence[Plot], series: Series) -> Entry:
    """Return the legend's entry, at the height of the curve's end in the last panel."""
    plot = plots[-1]
    x_of = plot.x_axis.of
    known = [point for point in series.ranked or series.points if x_of(point) is not None] or list(series.points)
    last = max(known, key=lambda point: x_of(point) or 0)
    position = plot.inches(last)
    return Entry(
        name=_name(series),
        style=plot.styles[series.name],
        hollow=plot.layer.reported or series.declared,
        lined=any(joined(series, panel.x_axis) for panel in plots),
        out=not series.ranked,
        height=position[1],
        end=position if x_of(last) == max(_known(plot.layer, plot.x_axis)) else None,
    )
