"""The profile: every attack of a protocol on the scale of its score, defense by defense."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustbench_dml.report.figures.footnotes import notes
from robustbench_dml.report.figures.marks import draw_point, label
from robustbench_dml.report.figures.series import Layer, Point, Series
from robustbench_dml.report.figures.sheet import new_sheet
from robustbench_dml.report.figures.style import OUT, FigureStyle, series_styles
from robustbench_dml.report.names import typeset
from robustbench_dml.spec.columns import RADIUS_SCALE, Column

HEADING = "Attack by attack"
MOST = 12  # largest number of defenses shown
ACROSS = 5  # panels side by side


def draw_profile(layer: Layer, style: FigureStyle) -> Figure | None:
    """Draw a panel for each attack, with the means of the best defenses and their bars, the best defense on top.

    Returns:
        The figure, or None for radii, which are no parts of the score.
    """
    if any(column.scale == RADIUS_SCALE for column in layer.columns.values()):
        return None
    shown = sorted(layer.series, key=lambda series: not series.ranked)[:MOST]  # the disqualified last
    across = min(ACROSS, len(layer.columns))
    rows = -(-len(layer.columns) // across)
    figure, panels = new_sheet(
        style,
        (style.wide, rows * (0.17 * len(shown) + 0.6) + 0.9),
        heading=HEADING,
        where=layer.where,
        notes=notes(
            layer,
            [series.points[0] for series in shown],
            f"Scale of {layer.score}, of which these are the parts: 100 is unmoved by the attack, 0 defeated",
            f"Grey line: {layer.score} of the defense",
            _choice(layer, len(shown)),
        ),
        grid=(rows, across),
        sharex=True,
        sharey=True,
    )
    used, spare = panels[: len(layer.columns)], panels[len(layer.columns) :]
    for axes in spare:
        axes.remove()
    for axes, (name, column) in zip(used, layer.columns.items(), strict=True):
        _draw_panel(axes, layer, name, column, shown)
    panels[0].set(ylim=(-0.6, len(shown) - 0.4), xticks=[0, 50, 100])
    panels[0].set_yticks(range(len(shown)), [_name(series, style) for series in reversed(shown)])
    for text in (text for axes in used for text in axes.get_yticklabels()):
        text.set_parse_math(style.typeset)
    return figure


def on_scale(column: Column, point: Point, name: str) -> tuple[float, tuple[float, float] | None]:
    """Return the value of an attack and its interval on the scale of the score; 100 is unmoved."""
    value = column.ers(point.values[name])
    if name not in point.intervals:
        return value, None
    low, high = sorted(column.ers(end) for end in point.intervals[name])
    return value, (low, high)


def _name(series: Series, style: FigureStyle) -> str:
    """The name, with eta if the series has several."""
    several = len({point.eta for point in series.points}) > 1
    name = f"{label(series)}, \u03b7 = {series.points[0].eta}" if several else label(series)
    return typeset(name) if style.typeset else name


def _choice(layer: Layer, shown: int) -> str:
    settings = "Each at its best setting" if len(layer.points) > len(layer.series) else ""
    if shown == len(layer.series):
        return settings
    return f"{settings}{'; shown' if settings else 'Shown'}: the best {shown} of {len(layer.series)} defenses"


def _draw_panel(axes: Axes, layer: Layer, name: str, column: Column, shown: list[Series]) -> None:
    """Draw the best point of each defense, the first on top."""
    styles = series_styles(series.name for series in layer.series)
    for y, series in enumerate(reversed(shown)):
        point = series.points[0]
        value, interval = on_scale(column, point, name)
        score = point.values[layer.score]
        axes.plot([score, score], [y - 0.36, y + 0.36], color=OUT, linewidth=0.9, zorder=1.5)
        draw_point(
            axes,
            styles[series.name],
            point,
            (value, y),
            bars=(interval, None),
            seeds=[(column.ers(seed[name]), y) for seed in point.seeds],
            hollow=False,
            gid=series.registered,
            zorder=3,
        )
    axes.plot([0, 100], [0, 0], alpha=0)  # the scale, at least
    axes.margins(x=0.08)
    axes.set_title(name, fontweight="bold")
    axes.tick_params(left=False, labelbottom=True)
    axes.spines["left"].set_visible(False)
