"""The overview shows the points of the efficiency plot and of the trade-off plot, side by side."""

from __future__ import annotations

from dataclasses import replace

from figures_support import drawn, made_layer, made_point, marks, small_print

from robustbench_dml.report.figures.overview import draw_overview
from robustbench_dml.report.figures.style import STYLES


def test_the_panels_share_the_score_and_differ_in_x() -> None:
    layer = made_layer([made_point(8, 30.0, 60.0, passes=1e6)], [made_point(2, 20.0, 70.0, passes=2e6)])
    figure = drawn(layer, draw_overview)
    left, right = figure.axes
    shown = [{xy for name in ("a", "b") for xy in marks(axes, name)} for axes in (left, right)]
    assert shown == [{(1e6, 30.0), (2e6, 20.0)}, {(60.0, 30.0), (70.0, 20.0)}]
    assert left.get_ylim() == right.get_ylim()
    assert "Pareto front" in small_print(figure)


def test_without_a_known_cost_there_is_none() -> None:
    point = made_point(8, 30.0, 60.0)
    unknown = replace(point, values={name: point.values[name] for name in ("ERS", "R@1")})
    assert draw_overview(made_layer([unknown]), STYLES["screen"]) is None
