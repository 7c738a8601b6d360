"""The efficiency plot: robustness against training cost, as metered and as papers count it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator

from robustbench_dml.report.figures.footnotes import along, declared, notes
from robustbench_dml.report.figures.label_placement import wrap
from robustbench_dml.report.figures.layout import EDGE, POINT, Sheet, axis_room, from_zero, left_room, new_sheet
from robustbench_dml.report.figures.legend import Entry, key_below, key_beside, key_height, key_width
from robustbench_dml.report.figures.markers import SAME, Across, draw_layer, joined, one_budget
from robustbench_dml.report.figures.panel_labels import label_flags
from robustbench_dml.report.figures.series import PASSES, Layer, Series
from robustbench_dml.report.figures.style import FigureStyle, SeriesStyle, series_styles

HEADING = "Robustness against training cost"
WIDE = 5  # from here on passes span so much that their axis is logarithmic
NARROW = 0.42  # of the other panel's width, for passes of one budget
FEW = 10  # so many strokes and leaders can be told apart
APART = 0.12  # inches between panels
USUAL = (1, 2, 3, 5, 9, 17, 33)  # costs of the etas that papers use


@dataclass(frozen=True)
class Panel:
    """One of the two panels.

    Attributes:
        across: its x axis.
        label: of that axis.
        finish: sets limits and ticks, given the values on it.
        width: relative to the other panel.
    """

    across: Across
    label: str
    finish: Callable[[Axes, list[float]], None]
    width: float = 1.0


METERED = Across(of=lambda point: point.passes, of_seed=lambda _, seed: seed.get(PASSES), by="passes")
COUNTED = Across(of=lambda point: point.cost, of_seed=lambda point, _: point.cost, by="eta")


def draw_efficiency(layer: Layer, style: FigureStyle) -> Figure | None:
    """Score against metered passes, and against eta + 1; None where training cost is known of none.

    A panel whose axis is known of no point is left out, and so are points of unknown cost in both.
    """
    panels = _panels(layer)
    if not panels:
        return None
    known = [
        one
        for one in layer.series
        if any(panel.across.of(point) is not None for panel in panels for point in one.points)
    ]
    names = [_name(one) for one in known]
    key = 0.0 if style.titled else key_height(names, style, style.width - 2 * EDGE)
    beside = key_width(names, style) + 0.22 if style.titled else EDGE
    widths = _widths(panels, style.width - beside - left_room(style))
    labels = [wrap(panel.label, width / POINT, style.size) for panel, width in zip(panels, widths, strict=True)]
    axis = axis_room(style, lines=max(map(len, labels)))
    height = max(3.1, 0.17 * len(known) + 0.2) if style.titled else 1.75
    sheet = new_sheet(
        style,
        width=style.width,
        body=height + axis + key,
        heading=HEADING + (", as reported" if layer.reported else ""),
        where=layer.where,
        notes=_notes(layer, panels),
    )
    look = series_styles(one.name for one in layer.series)
    drawn = _draw_panels(sheet, layer, look, panels, widths, sheet.top - height)
    for axes, lines in zip(drawn, labels, strict=True):
        axes.set_xlabel("\n".join(lines), fontsize=style.size, labelpad=3)
    label_flags(sheet, drawn[-1], layer, panels[-1].across)
    entries = [_entry(sheet, layer, one, look[one.name], panels, drawn[-1]) for one in known]
    if len(entries) > FEW:
        entries = [replace(entry, end=None) for entry in entries]
    if style.titled:
        key_beside(sheet, entries, sheet.width - beside + 0.2, sheet.top - height, sheet.top)
    else:
        key_below(sheet, entries, EDGE, sheet.bottom)
    return sheet.figure


def _panels(layer: Layer) -> list[Panel]:
    passes = _known(layer, METERED)
    narrow = bool(passes) and one_budget(passes)
    counted = Panel(COUNTED, "passes per iteration as papers count, \u03b7\u00a0+\u00a01", _finish_cost)
    metered = Panel(METERED, "image passes of a training, metered", _finish_passes)
    if not _known(layer, COUNTED):
        return [metered] if passes else []
    if narrow:
        metered = Panel(METERED, "image passes, metered", _finish_passes, NARROW)
    return [metered, counted] if passes else [counted]


def _known(layer: Layer, across: Across) -> list[float]:
    return [x for point in layer.points if (x := across.of(point)) is not None]


def _draw_panels(
    sheet: Sheet,
    layer: Layer,
    look: dict[str, SeriesStyle],
    panels: Sequence[Panel],
    widths: Sequence[float],
    low: float,
) -> list[Axes]:
    left = left_room(sheet.style)
    drawn: list[Axes] = []
    for panel, width in zip(panels, widths, strict=True):
        axes = sheet.axes(left, low, width, sheet.top - low, beside=drawn[0] if drawn else None)
        draw_layer(axes, layer, look, sheet.style, panel.across)
        xs = _known(layer, panel.across)
        if panel.across is COUNTED:
            xs += _draw_metered(axes, layer, look, sheet.style)
        panel.finish(axes, xs)
        drawn.append(axes)
        left += width + APART
    drawn[0].set_ylabel(layer.score_label, fontsize=sheet.style.size, labelpad=4)
    from_zero(drawn[0])
    return drawn


def _widths(panels: Sequence[Panel], room: float) -> list[float]:
    """Of the panels, in inches."""
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


def _draw_metered(axes: Axes, layer: Layer, look: dict[str, SeriesStyle], style: FigureStyle) -> list[float]:
    """From eta + 1 to the passes that an iteration had as metered, where these were notably fewer; returns them."""
    for name, metered, cost, y in (found := _cheaper(layer)):
        colour = look[name].colour
        axes.plot([metered, cost], [y, y], color=colour, linewidth=0.12 * style.marker, linestyle=":", zorder=2.1)
        axes.plot([metered], [y], color=colour, marker="|", markersize=style.marker, zorder=2.2)
    return [metered for _, metered, _, _ in found]


def _cheaper(layer: Layer) -> list[tuple[str, float, float, float]]:
    """Name, metered and counted passes per iteration and score of those points; none where there are too many."""
    found = [
        (series.name, point.metered, point.cost, point.values[layer.score])
        for series in layer.series
        for point in series.ranked
        if point.metered is not None and point.cost is not None and point.metered < 0.9 * point.cost
    ]
    return found if len(found) <= FEW else []


def _notes(layer: Layer, panels: Sequence[Panel]) -> str:
    known = [point for point in layer.points if any(panel.across.of(point) is not None for panel in panels)]
    lines = [line for one in layer.series for panel in panels for line in joined(one, panel.across)]
    missing = len(layer.points) - len(known)
    return notes(
        layer,
        known,
        declared(known),
        along(lines, layer.score),
        "Upright stroke: passes per iteration as metered, where fewer" if _cheaper(layer) else "",
        f"Left out: {missing} of unknown training cost" if missing else "",
    )


def _name(series: Series) -> str:
    return f"{series.shown} (declared)" if _declared(series) else series.shown


def _declared(series: Series) -> bool:
    return all(point.declared for point in series.points)


def _entry(sheet: Sheet, layer: Layer, series: Series, look: SeriesStyle, panels: Sequence[Panel], axes: Axes) -> Entry:
    """The line of the key, at the height of the end of the curve in the last panel."""
    across = panels[-1].across
    known = [point for point in series.ranked or series.points if across.of(point) is not None] or list(series.points)
    last = max(known, key=lambda point: across.of(point) or 0)
    x = across.of(last)
    place = sheet.inches(axes, axes.get_xlim()[0] if x is None else x, last.values[layer.score])
    return Entry(
        name=_name(series),
        look=look,
        hollow=layer.reported or _declared(series),
        lined=any(joined(series, panel.across) for panel in panels),
        out=not series.ranked,
        height=place[1],
        end=place if x == max(_known(layer, across)) else None,
    )
