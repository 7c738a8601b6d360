from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from board_support import make_leaderboards
from figures_support import (
    bars,
    drawn,
    layer_of_board,
    made_layer,
    made_point,
    main_board,
    marks,
    small_print,
    written_in,
)
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from robustbench_dml.report.figures.efficiency import draw_efficiency
from robustbench_dml.report.figures.overview import draw_overview
from robustbench_dml.report.figures.series import Layer, layer_of_reported
from robustbench_dml.report.figures.style import STYLES, FigureStyle, StyleName
from robustbench_dml.report.figures.tradeoff import draw_tradeoff
from robustbench_dml.report.figures.write import drawn_in
from robustbench_dml.report.published import read_published


def figure_of(layer: Layer) -> Figure:
    return drawn(layer, draw_efficiency)


def legend_of(figure: Figure) -> Legend:
    [legend] = [*figure.legends, *(legend for axes in figure.axes if (legend := axes.get_legend()) is not None)]
    return legend


def test_the_points_of_a_board_are_where_its_rows_are(tmp_path: Path) -> None:
    board = main_board(make_leaderboards(tmp_path))
    passes, counted = figure_of(layer_of_board(board)).axes
    for row in board.rows:
        cost, _ = board.passes(row)
        assert (cost, row.values["ERS"]) in marks(passes, row.label)
        seen = marks(counted, row.label)
        assert seen == set() if row.eta is None else (row.eta + 1, row.values["ERS"]) in seen


def test_bars_are_the_intervals_and_small_marks_the_seeds(tmp_path: Path) -> None:
    board = main_board(make_leaderboards(tmp_path))
    act = board.rows[1]
    figure = figure_of(layer_of_board(board))
    axes = figure.axes[1]
    low, high = act.intervals["ERS"]
    assert any(np.allclose(bar, [[9, low], [9, high]]) for bar in bars(axes))
    lines = [np.ravel(line.get_xydata()) for line in axes.get_lines()]
    assert len(act.records) == 3
    assert all(
        any(np.allclose(line, [9, record.primary_score]) for line in lines if len(line) == 2) for record in act.records
    )
    assert "means over 1 to 3 seeds, small marks: single seeds" in small_print(figure)


@pytest.mark.parametrize("dataset", ["cub", "cars", "sop", "fashion", "mnist"])
def test_reported_points_are_those_of_the_file_and_hollow(dataset: str) -> None:
    reported = [one for one in read_published() if one.dataset == dataset and not one.collapsed]
    figure = figure_of(layer_of_reported(reported))
    [axes] = figure.axes  # nothing is known of passes
    for defense in {one.defense for one in reported}:
        own = {((one.eta or 0) + 1.0, one.values["ERS"]) for one in reported if one.defense == defense}
        assert marks(axes, defense) == own
    faces = {line.get_markerfacecolor() for line in axes.get_lines() if line.get_gid()}
    assert faces == {"white"}
    assert any("as reported" in text for text in written_in(figure))
    assert reported[0].source.split(" ")[0] in small_print(figure)


def test_a_curve_joins_a_defense_over_eta_and_skips_the_disqualified() -> None:
    points = [made_point(eta, 20 + eta) for eta in (32, 2, 8)]
    layer = made_layer([*points, made_point(16, 50, flag="collapsed")])
    for axes, ends in zip(figure_of(layer).axes, ([3e5, 9e5, 33e5], [3, 9, 33]), strict=True):
        [line] = [line for line in axes.get_lines() if len(np.ravel(line.get_xdata())) == 3]
        assert list(np.ravel(line.get_xdata())) == ends
        assert list(np.ravel(line.get_ydata())) == [22, 28, 52]


def test_the_footnote_explains_each_line() -> None:
    """Over passes, a defense at several budgets has a line for each eta; over eta, one for each budget."""
    budgets = [made_point(8, 20.0, budget="passes 1", passes=1e5), made_point(8, 30.0, budget="passes 9", passes=9e5)]
    assert "At eta 8 a line joins budgets." in small_print(figure_of(made_layer(budgets)))
    both = small_print(figure_of(made_layer(budgets, [made_point(eta, 20.0 + eta) for eta in (2, 32)])))
    assert "Numbers: eta. At eta 8 a line joins budgets." in both
    apart = small_print(figure_of(made_layer([made_point(eta, 20.0 + eta) for eta in (2, 32)])))
    assert "Numbers: eta." in apart and "budgets" not in apart


def test_points_of_one_budget_are_not_joined_over_passes() -> None:
    layer = made_layer([made_point(eta, 20 + eta, passes=1e5 + eta) for eta in (2, 8, 32)])
    passes, counted = figure_of(layer).axes
    assert all(len(np.ravel(line.get_xdata())) == 1 for line in passes.get_lines())
    assert any(len(np.ravel(line.get_xdata())) == 3 for line in counted.get_lines())


@pytest.mark.parametrize("costs", [(1e5, 1e5), (1e5, 3e5), (7e4, 8e6), (3e3, 5e9)])
def test_every_range_of_passes_is_inside_and_has_ticks(costs: tuple[float, float]) -> None:
    layer = made_layer([made_point(8, 20 + place, passes=passes) for place, passes in enumerate(costs)])
    axes = figure_of(layer).axes[0]
    low, high = axes.get_xlim()
    assert low < min(costs) and max(costs) < high
    assert 1 <= sum(low <= tick <= high for tick in axes.get_xticks()) <= 8


def test_unknown_costs_are_left_out_and_counted() -> None:
    layer = made_layer([made_point()], [made_point(None)], [made_point(None, passes=2e5, declared=True)])
    figure = figure_of(layer)
    assert [marks(axes, "b") for axes in figure.axes] == [set(), set()]
    assert "Left out: 1 without known training cost." in small_print(figure)
    assert [text.get_text() for text in legend_of(figure).get_texts()] == ["a", "c"]
    faces = {line.get_gid(): line.get_markerfacecolor() for line in figure.axes[0].get_lines() if line.get_gid()}
    assert faces["c"] == "white" != faces["a"]


def test_without_known_costs_there_is_no_figure() -> None:
    assert draw_efficiency(made_layer([made_point(None)]), STYLES["screen"]) is None
    [axes] = figure_of(made_layer([made_point(None, passes=2e5)])).axes
    assert marks(axes, "a") == {(2e5, 30.0)}


def test_a_trained_baseline_is_a_point_and_an_untrained_one_a_dotted_line() -> None:
    series = [made_point(8, 40.0)], [made_point(0, 30.0, baseline=True)], [made_point(None, 20.0, baseline=True)]
    figure = figure_of(made_layer(*series))
    for axes, cost in zip(figure.axes, (1e5, 1), strict=True):
        assert marks(axes, "b") == {(cost, 30)}
        [line] = [line for line in axes.get_lines() if line.get_gid() == "c"]
        assert (line.get_linestyle(), list(np.ravel(line.get_ydata()))) == (":", [20, 20])
    assert [text.get_text() for text in legend_of(figure).get_texts()] == ["a", "b: baseline"]
    assert "Dotted: baselines without training" in small_print(figure)
    assert "Left out" not in small_print(figure)


def test_the_disqualified_are_crossed_out_and_their_flag_is_written() -> None:
    figure = figure_of(made_layer([made_point()], [made_point(8, 50, flag="no gradient")]))
    crossed = [line for line in figure.axes[1].get_lines() if line.get_gid() == "b"]
    assert [line.get_marker() for line in crossed] != ["o"]
    assert "x" in [line.get_marker() for line in crossed]
    assert "b: no gradient" in written_in(figure)
    assert "crossed out: disqualified" in small_print(figure)
    assert "x" not in [line.get_marker() for line in figure.axes[1].get_lines() if line.get_gid() == "a"]


def _is_eta(text: Text) -> bool:
    """The number beside a mark. The other texts of an axes are in the title's box."""
    return text.get_text().isdigit()


@pytest.mark.parametrize("style", ["screen", "paper"])
@pytest.mark.parametrize("draw", [draw_efficiency, draw_tradeoff, draw_overview])
@pytest.mark.parametrize("many", [2, 20])
def test_nothing_leaves_the_figure_and_no_text_hides_another(
    draw: Callable[[Layer, FigureStyle], Figure | None], style: StyleName, many: int
) -> None:
    names = [f"{'a long name of a ' if place % 2 else ''}defense {place}" for place in range(many)]
    series = [[made_point(eta, 20 + eta / 4 + place) for eta in (2, 8, 32)] for place in range(many)]
    layer = replace(made_layer(*series, names=names), where="glyphs, c2f2, protocol radius: " + 12 * "a=1,2,4, ")
    with drawn_in(STYLES[style]):
        figure = draw(layer, STYLES[style])
        assert figure is not None
        figure.canvas.draw()
        texts = [text for text in [*figure.texts, *legend_of(figure).get_texts()] if text.get_text()]
        texts += [label for axes in figure.axes for label in (axes.xaxis.label, axes.yaxis.label) if label.get_text()]
        boxes = [text.get_window_extent() for text in texts]
        subtitles = [text.get_window_extent() for axes in figure.axes for text in axes.texts if not _is_eta(text)]
    width, height = figure.get_size_inches() * figure.dpi
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in [*boxes, *subtitles])
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])
    assert not any(axes.bbox.overlaps(box) for axes in figure.axes for box in [*boxes, *subtitles])
    assert all(axes.bbox.width > 0.3 * width and axes.bbox.height > 0.2 * height for axes in figure.axes)
