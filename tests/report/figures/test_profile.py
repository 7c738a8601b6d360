from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from board_support import make_leaderboards
from figures_support import drawn, drawn_rows, layer_of_board, made_layer, made_point, main_board, marks, small_print
from matplotlib.figure import Figure

from robustbench_dml.report.figures.profile import MOST, draw_profile, on_scale
from robustbench_dml.report.figures.series import Layer, Point
from robustbench_dml.report.figures.style import STYLES
from robustbench_dml.report.figures.write import drawn_in
from robustbench_dml.spec.protocols import protocol_columns

COLUMNS = protocol_columns("ers")


def figure_of(layer: Layer) -> Figure:
    return drawn(layer, draw_profile)


def attacked(score: float, *, eta: int = 8, flag: str = "") -> Point:
    values = {"ERS": score, "R@1": 50.0, **{name: place + score / 100 for place, name in enumerate(COLUMNS)}}
    intervals = {name: (value - 0.1, value + 0.2) for name, value in values.items()}
    return made_point(eta, values=values, intervals=intervals, seeds=(values,), flag=flag)


def test_a_panel_for_each_column_with_the_means_on_the_scale_of_the_score(tmp_path: Path) -> None:
    board = main_board(make_leaderboards(tmp_path))
    panels = figure_of(layer_of_board(board)).axes
    assert [axes.get_title() for axes in panels] == list(board.columns)
    for place, row in enumerate(drawn_rows(board)):
        seen = []
        for axes, (name, column) in zip(panels, board.columns.items(), strict=True):
            [(x, y)] = marks(axes, row.label)
            assert x == pytest.approx(column.ers(row.values[name]))
            assert y == len(board.rows) - 1 - place  # the best on top
            seen.append(x)
        assert np.mean(seen) == pytest.approx(row.values["ERS"])


@pytest.mark.parametrize("count", [1, 4, 5, 6, 9])
def test_there_are_as_many_panels_as_columns(count: int) -> None:
    columns = dict(list(COLUMNS.items())[:count])
    panels = figure_of(made_layer([attacked(30)], columns=columns)).axes
    assert [axes.get_title() for axes in panels] == list(columns)


def test_radii_have_no_profile() -> None:
    """They are no parts of a score."""
    with drawn_in(STYLES["screen"]):
        assert draw_profile(made_layer([attacked(30)], columns=protocol_columns("radius")), STYLES["screen"]) is None


def test_an_interval_is_turned_where_more_is_worse() -> None:
    point = attacked(30)
    for name, column in COLUMNS.items():
        value, interval = on_scale(column, point, name)
        assert interval is not None
        assert interval[0] < value < interval[1]
        assert {column.ers(end) for end in point.intervals[name]} == set(interval)


def test_all_panels_have_one_axis_that_holds_every_value() -> None:
    high = attacked(400)
    layer = made_layer([attacked(30)], [high], columns=COLUMNS)
    limits = {axes.get_xlim() for axes in figure_of(layer).axes}
    assert len(limits) == 1
    [(low, top)] = limits
    assert low < min(0, *(on_scale(column, high, name)[0] for name, column in COLUMNS.items()))
    assert top > max(100, *(on_scale(column, high, name)[0] for name, column in COLUMNS.items()))


def test_the_best_are_shown_and_the_footnote_counts_them() -> None:
    names = [f"defense {place:02}" for place in range(MOST + 3)]
    flagged = [[attacked(90, flag="collapsed")]]
    series = [*flagged, *([attacked(80 - place, eta=8), attacked(70 - place, eta=2)] for place in range(MOST + 2))]
    figure = figure_of(made_layer(*series, names=names, columns=COLUMNS))
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert shown[::-1] == [f"{name}, \u03b7 = 8" for name in names[1 : MOST + 1]]
    assert f"best setting; shown: the best {MOST} of {MOST + 3} defenses" in small_print(figure)


def test_the_disqualified_come_last_with_their_flag() -> None:
    layer = made_layer([attacked(90, flag="collapsed")], [attacked(10)], columns=COLUMNS)
    figure = figure_of(layer)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a: collapsed", "b"]
    [(_, first)], [(_, second)] = marks(figure.axes[0], "a"), marks(figure.axes[0], "b")
    assert (first, second) == (0, 1)
    assert "Shown" not in small_print(figure)
