from __future__ import annotations

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
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from robustbench_dml.report.figures.series import Layer, layer_of_reported
from robustbench_dml.report.figures.tradeoff import draw_tradeoff, pareto_front
from robustbench_dml.report.published import read_published

GRID = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


def figure_of(layer: Layer) -> Figure:
    return drawn(layer, draw_tradeoff)


def front_of(figure: Figure) -> list[tuple[float, float]]:
    [line] = [line for line in figure.axes[0].get_lines() if line.get_gid() == "pareto front"]
    return list(zip(*map(np.ravel, line.get_data()), strict=True))


@given(GRID)
def test_the_front_has_the_points_no_other_beats(points: list[tuple[float, float]]) -> None:
    naive = {
        one for one in points if not any(other != one and other[0] >= one[0] and other[1] >= one[1] for other in points)
    }
    front = pareto_front(points)
    assert set(front) == naive
    assert front == sorted(front)
    assert len(front) == len(naive)


def test_the_points_of_a_board_are_where_its_rows_are(tmp_path: Path) -> None:
    board = main_board(make_leaderboards(tmp_path))
    figure = figure_of(layer_of_board(board))
    [axes] = figure.axes
    for row in board.rows:
        assert (row.values["R@1"], row.values["ERS"]) in marks(axes, row.records[0].spec.label)
    for row in board.rows:
        x, y = row.values["R@1"], row.values["ERS"]
        (left, right), (low, high) = row.intervals["R@1"], row.intervals["ERS"]
        assert any(np.allclose(bar, [[left, y], [right, y]]) for bar in bars(axes))
        assert any(np.allclose(bar, [[x, low], [x, high]]) for bar in bars(axes))


def test_the_front_steps_through_the_ranked_alone() -> None:
    layer = made_layer(
        [made_point(score=10, recall=80)],
        [made_point(score=40, recall=50)],
        [made_point(score=30, recall=40)],
        [made_point(score=90, recall=90, flag="collapsed")],
    )
    figure = figure_of(layer)
    left, bottom = figure.axes[0].get_xlim()[0], figure.axes[0].get_ylim()[0]
    assert front_of(figure) == [(left, 40), (50, 40), (80, 10), (80, bottom)]  # steps come before the points
    assert "Pareto front" in small_print(figure)
    assert "d: collapsed" in written_in(figure)


def test_where_none_is_ranked_there_is_no_front() -> None:
    figure = figure_of(made_layer([made_point(flag="random")]))
    assert [line for line in figure.axes[0].get_lines() if line.get_gid() == "pareto front"] == []
    assert "Pareto" not in small_print(figure)


@pytest.mark.parametrize("dataset", ["cub", "cars", "sop", "fashion", "mnist"])
def test_reported_points_are_those_of_the_file(dataset: str) -> None:
    reported = [one for one in read_published() if one.dataset == dataset and not one.collapsed]
    figure = figure_of(layer_of_reported(reported))
    for defense in {one.defense for one in reported}:
        own = {(one.values["R@1"], one.values["ERS"]) for one in reported if one.defense == defense}
        assert marks(figure.axes[0], defense) == own
    assert any("as reported" in text for text in written_in(figure))


def test_an_interval_that_rounding_moved_past_its_value_can_be_drawn() -> None:
    # Where all queries score alike, as in a collapsed model, the resampled means are sums in another order.
    point = made_point(score=30.0, recall=60.0)
    intervals = {"ERS": (float(np.nextafter(30, 100)), 30.0), "R@1": (60.0, float(np.nextafter(60, 0)))}
    assert figure_of(made_layer([made_point(intervals=intervals)])).axes
    assert point.intervals != intervals


def test_a_line_joins_a_defense_over_eta_however_alike_its_recalls_are() -> None:
    figure = figure_of(made_layer([made_point(eta, 20.0 + eta, 77 + eta / 100) for eta in (32, 2, 8)]))
    lines = [line for line in figure.axes[0].get_lines() if line.get_gid() is None]
    [line] = [line for line in lines if len(np.ravel(line.get_xdata())) == 3]
    assert list(np.ravel(line.get_ydata())) == [22, 28, 52]
    assert "Numbers: eta." in small_print(figure)
    beside = {
        text.get_text(): text.xy
        for text in figure.axes[0].texts
        if isinstance(text, Annotation) and text.get_text().isdigit()
    }
    assert beside == {str(eta): (77 + eta / 100, 20.0 + eta) for eta in (2, 8, 32)}
    alike = figure_of(made_layer([made_point(8, 20.0), made_point(8, 10.0)]))
    assert "eta." not in small_print(alike) and not any(text.get_text().isdigit() for text in alike.axes[0].texts)


@pytest.mark.parametrize(("scores", "zero"), [((4, 60), True), ((40, 60), False), ((-1, 60), False)])
def test_the_score_begins_at_zero_where_that_leaves_no_half_empty(scores: tuple[int, int], zero: bool) -> None:
    points = [[made_point(score=score, intervals={})] for score in scores]
    low, _ = figure_of(made_layer(*points)).axes[0].get_ylim()
    assert (low == 0) == zero
    assert low < min(scores)
