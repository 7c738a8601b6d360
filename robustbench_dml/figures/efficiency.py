"""The efficiency plot: robustness against training cost, as metered and as papers count it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator

from robustbench_dml.figures.flags import label_flags
from robustbench_dml.figures.key import Entry, key_below, key_beside, key_height, key_width
from robustbench_dml.figures.look import Look, Style, looks
from robustbench_dml.figures.marks import Across, draw_layer, joined
from robustbench_dml.figures.notes import etas, notes
from robustbench_dml.figures.series import PASSES, Layer, Point, Series
from robustbench_dml.figures.sheet import EDGE, Sheet, new_sheet

HEADING = "Robustness against training cost"
METERED = Across(of=lambda point: point.passes, of_seed=lambda _, seed: seed.get(PASSES), by="passes")
COUNTED = Across(of=lambda point: point.cost, of_seed=lambda point, _: point.cost, by="eta")
WIDE = 5  # from here on the passes of a figure span so much that their axis is logarithmic
SAME = 1.25  # up to here they are one budget, and their panel is narrow
NARROW = 0.42  # of the other panel's width

Panel = tuple[Across, str, Callable[[Axes, list[float], Style], None]]


def draw_efficiency(layer: Layer, style: Style) -> Figure | None:
    """Score against metered passes, and against eta + 1; None where training cost is known of none.

    A panel whose axis is known of no point is left out, and so are points of unknown cost in both.
    """
    shown = [point for point in layer.points if METERED.of(point) is not None or COUNTED.of(point) is not None]
    panels = [panel for panel in _panels() if any(panel[0].of(point) is not None for point in shown)]
    if not panels:
        return None
    series = [one for one in layer.series if any(point in shown for point in one.points)]
    look = looks(one.name for one in layer.series)
    names = [one.name for one in series]
    below = 0.0 if style.titled else key_height(names, style, style.width - 2 * EDGE) + 0.05
    beside = key_width(names, style) + 0.22 if style.titled else EDGE
    axis = (3.4 * style.size + 8) / 72
    sheet = new_sheet(
        style,
        width=style.width,
        body=_height(len(series), style) + axis + below,
        heading=HEADING,
        where=layer.where,
        notes=notes(layer, shown, _joined_by(layer, panels), _ticks(layer, panels), _left_out(layer, shown)),
    )
    left = EDGE + (3.2 * style.size + 8) / 72
    drawn = _draw_panels(sheet, layer, look, panels, left, sheet.bottom + axis + below, sheet.width - beside)
    label_flags(sheet, drawn[-1], layer, panels[-1][0])
    _draw_key(sheet, layer, series, look, drawn, panels, sheet.width - beside + 0.2)
    return sheet.figure


def _panels() -> list[Panel]:
    return [
        (METERED, "image passes of a training, metered", _finish_passes),
        (COUNTED, "passes of the batch per iteration, \u03b7 + 1", _finish_cost),
    ]


def _height(series: int, style: Style) -> float:
    """Of the panels, in inches: room for the key beside them."""
    return max(3.1, 0.17 * series + 0.2) if style.titled else 1.75


def _draw_panels(
    sheet: Sheet, layer: Layer, look: dict[str, Look], panels: Sequence[Panel], left: float, low: float, right: float
) -> list[Axes]:
    points = [[x for point in layer.points if (x := across.of(point)) is not None] for across, _, _ in panels]
    shares = [
        NARROW if across is METERED and len(panels) > 1 and _same(xs) else 1.0
        for (across, _, _), xs in zip(panels, points, strict=True)
    ]
    gap = 0.12
    room = right - left - gap * (len(panels) - 1)
    drawn: list[Axes] = []
    for (across, label, finish), xs, share in zip(panels, points, shares, strict=True):
        width = room * share / sum(shares)
        axes = sheet.axes(left, low, width, sheet.top - low, beside=drawn[0] if drawn else None)
        draw_layer(axes, layer, look, sheet.style, across)
        if across is COUNTED:
            _draw_metered(axes, layer, look, sheet.style)
        finish(axes, xs, sheet.style)
        axes.set_xlabel(_broken(label, share), fontsize=sheet.style.size, labelpad=3)
        drawn.append(axes)
        left += width + gap
    drawn[0].set_ylabel(layer.score_label, fontsize=sheet.style.size, labelpad=4)
    bottom, top = drawn[0].get_ylim()
    drawn[0].set_ylim(min(0, bottom), top)
    return drawn


def _broken(label: str, share: float) -> str:
    """A label for a narrow panel has two lines."""
    return label.replace(" of a training, ", "\n") if share < 1 else label


def _finish_passes(axes: Axes, passes: list[float], style: Style) -> None:
    low, high = min(passes), max(passes)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if high / max(low, 1) > WIDE:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.5, high * 1.5)
        decades = high / low > 200
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if decades else (1, 2, 5)))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_locator(NullLocator())
    elif _same(passes):
        axes.set_xlim(low / SAME, high * SAME)
        middle = float(f"{(low + high) / 2:.1g}")
        axes.xaxis.set_major_locator(FixedLocator([middle if low / SAME < middle < high * SAME else low]))
    else:
        axes.set_xlim(0, 1.08 * high)
        axes.locator_params(axis="x", nbins=5)


def _finish_cost(axes: Axes, costs: list[float], style: Style) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(costs) / 1.35, max(costs) * 1.35)
    found = sorted(set(costs))
    if len(found) <= 8:
        axes.xaxis.set_major_locator(FixedLocator(found))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def _same(passes: list[float]) -> bool:
    return max(passes) <= SAME * min(passes)


def _draw_metered(axes: Axes, layer: Layer, look: dict[str, Look], style: Style) -> None:
    """A thin line from eta + 1 to the passes of the batch that an iteration had, where they were notably fewer."""
    for series in layer.series:
        for point in filter(_cheaper, series.ranked):
            y = point.values[layer.score]
            assert point.metered is not None and point.cost is not None
            colour = look[series.name].colour
            axes.plot([point.metered, point.cost], [y, y], color=colour, linewidth=0.7, alpha=0.55, zorder=2.1)
            axes.plot([point.metered], [y], color=colour, marker="|", markersize=1.2 * style.marker, zorder=2.2)


def _cheaper(point: Point) -> bool:
    return point.metered is not None and point.cost is not None and point.metered < 0.9 * point.cost


def _ticks(layer: Layer, panels: Sequence[Panel]) -> str:
    counted = any(across is COUNTED for across, _, _ in panels)
    found = any(_cheaper(point) for series in layer.series for point in series.ranked)
    return "Upright stroke: passes per iteration as metered, where fewer" if counted and found else ""


def _joined_by(layer: Layer, panels: Sequence[Panel]) -> str:
    lines = any(joined(series, across) for series in layer.series for across, _, _ in panels)
    return etas(layer.points) if lines else ""


def _left_out(layer: Layer, shown: Sequence[Point]) -> str:
    missing = len(layer.points) - len(shown)
    return f"Left out: {missing} of unknown training cost" if missing else ""


def _draw_key(
    sheet: Sheet,
    layer: Layer,
    series: Sequence[Series],
    look: dict[str, Look],
    drawn: Sequence[Axes],
    panels: Sequence[Panel],
    x: float,
) -> None:
    entries = []
    (across, _, _), axes = panels[-1], drawn[-1]
    for one in series:
        known = [point for point in one.ranked or one.points if across.of(point) is not None] or list(one.points)
        last = max(known, key=lambda point: across.of(point) or 0)
        place = sheet.inches(axes, across.of(last) or axes.get_xlim()[0], last.values[layer.score])
        near = across.of(last) == max((across.of(point) or 0) for point in layer.points)
        entries.append(
            Entry(
                name=one.name,
                look=look[one.name],
                hollow=layer.reported or all(point.declared for point in one.points),
                lined=any(joined(one, across) for across, _, _ in panels),
                height=place[1],
                end=place if near else None,
            )
        )
    if sheet.style.titled:
        key_beside(sheet, entries, x, drawn[-1].get_position().y0 * sheet.figure.get_size_inches()[1], sheet.top)
    else:
        key_below(sheet, entries, EDGE, sheet.bottom)
