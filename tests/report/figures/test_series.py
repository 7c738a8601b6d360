from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from board_support import enter_made, foreign_spec, made_spec, make_leaderboards
from figures_support import drawn_rows, layer_of_board, made_point, main_board, write_board

from robustbench_dml.leaderboard.board import Board
from robustbench_dml.report.figures.series import COST, PASSES, curves, layer_of_reported, layer_of_rows
from robustbench_dml.report.published import Reported, read_published
from robustbench_dml.spec.scores import scores_of


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    return main_board(make_leaderboards(tmp_path_factory.mktemp("made")))


def test_every_row_is_one_point_with_its_values(board: Board) -> None:
    layer = layer_of_board(board)
    names = [(one.name, one.registered) for one in layer.series]
    assert names == [
        ("HM[S,g_LGA]&ICS", "hm-lga-ics"),
        ("ACT[R]", "act"),
        ("mine.py:factory", "mine.py:factory@66666666"),
        ("madry", "madry"),
    ]
    for row, point in zip(drawn_rows(board), layer.points, strict=True):
        assert point.values.items() >= row.values.items()
        assert (point.intervals, point.eta) == (row.intervals, row.eta)
        assert (point.seed_numbers, len(point.seeds)) == (row.seeds, len(row.records))
        assert point.flag == ", ".join(row.disqualifying)
        assert (point.values.get(PASSES), point.declared) == board.passes(row)
    _, act, foreign, madry = layer.points
    assert [seed[PASSES] for seed in act.seeds] == [
        record.cost.passes for record in board.rows[1].records if record.cost
    ]
    assert (act.values[COST], foreign.values.get(COST), madry.flag) == (9, None, "collapsed")
    assert (foreign.values[PASSES], foreign.declared) == (5e6, True)
    assert layer.where == board.title
    assert (layer.score, layer.score_label) == ("ERS", scores_of("ers", board.columns)[0].label)


def test_without_a_board_costs_are_metered(board: Board) -> None:
    foreign = layer_of_rows(board.rows).points[2]
    assert (foreign.values.get(PASSES), foreign.declared) == (None, False)


def test_one_defense_over_eta_and_budget_is_one_series(tmp_path: Path) -> None:
    for eta, budget in ((2, "1000"), (8, "1000"), (8, "2000")):
        enter_made(tmp_path, made_spec("act", training={"eta": eta}, budget=budget), level=0.1 + eta / 20)
    [series] = layer_of_board(main_board(tmp_path)).series
    assert sorted((point.eta, point.budget) for point in series.points) == [
        (2, "passes 1000"),
        (8, "passes 1000"),
        (8, "passes 2000"),
    ]


def test_two_names_of_a_defense_share_a_series_and_other_trainings_do_not(tmp_path: Path) -> None:
    enter_made(tmp_path, made_spec("act-s", training={"eta": 2}))
    enter_made(tmp_path, made_spec("act", params={"sampler": "S"}, training={"eta": 8}))
    enter_made(tmp_path, made_spec("act-s", training={"lr": 0.01}))
    names = {one.name: len(one.points) for one in layer_of_board(main_board(tmp_path)).series}
    assert names == {"ACT[S]": 2, "ACT[S], lr=0.01": 1}


def test_eta_alone_makes_no_other_series(tmp_path: Path) -> None:
    for training in ({"eta": 8}, {"eta": 32}, {"lr": 0.01}):
        enter_made(tmp_path, made_spec("hm-free", training=training))
    series = layer_of_board(main_board(tmp_path)).series
    assert sorted(len(one.points) for one in series) == [1, 2]
    assert not any("eta=" in one.name for one in series)


def test_two_models_from_one_file_have_their_weights_in_their_names(tmp_path: Path) -> None:
    enter_made(tmp_path, foreign_spec())
    enter_made(tmp_path, foreign_spec().model_copy(update={"weights": "7" * 64}))
    names = {one.name for one in layer_of_board(main_board(tmp_path)).series}
    assert names == {"mine.py:factory@66666666", "mine.py:factory@77777777"}


def test_characters_without_a_glyph_are_escaped(tmp_path: Path) -> None:
    enter_made(tmp_path, foreign_spec().model_copy(update={"model": "\u72ac\u03b3.py:\U0001f436"}))
    board = main_board(tmp_path)
    [series] = layer_of_board(board).series
    assert series.name.startswith("\\u72ac\u03b3.py:\\U0001f436")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert write_board(board, "screen", tmp_path / "a")
        assert write_board(board, "paper", tmp_path / "b")


def test_reported_results_are_hollow_sorted_and_without_the_collapsed() -> None:
    reported = [one for one in read_published() if one.dataset == "cub"]
    layer = layer_of_reported(reported)
    assert layer.reported
    points = {(one.name, point.eta, point.values["ERS"]) for one in layer.series for point in one.points}
    assert points == {(one.defense, one.eta or 0, one.values["ERS"]) for one in reported if not one.collapsed}
    best = [one.points[0].values["ERS"] for one in layer.series]
    assert best == sorted(best, reverse=True)
    assert set(layer.sources) == {one.source for one in reported if not one.collapsed}
    assert all(point.intervals == {} and point.seeds == () for point in layer.points)


def test_of_one_eta_from_two_sources_neither_continues_the_other() -> None:
    reported = [one for one in read_published() if one.dataset == "fashion" and one.defense == "EST[R]"]
    [series] = layer_of_reported(reported).series
    assert len(series.points) == 2
    assert [len(strand) for strand in curves(series.points, by=COST)] == [1, 1]


def test_training_without_attacks_costs_one_pass() -> None:
    regular = Reported(
        dataset="d",
        backbone="b",
        defense="regular[R]",
        eta=None,
        collapsed=False,
        values={"ERS": 1.0},
        source="s",
        commit="",
        date="",
    )
    assert layer_of_reported([regular]).points[0].values[COST] == 1


def test_one_line_over_eta_where_each_is_there_once() -> None:
    points = [made_point(8, budget="b"), made_point(2, budget="a"), made_point(None)]
    for by in (COST, PASSES):
        assert [[point.eta for point in strand] for strand in curves(points, by=by)] == [[2, 8]]


def test_several_budgets_are_several_lines_over_eta_and_one_for_each_eta_over_passes() -> None:
    points = [
        made_point(eta, budget=budget, passes=passes)
        for eta, budget, passes in ((2, "a", 10), (8, "a", 11), (2, "b", 20), (8, "b", 21))
    ]
    over_eta = curves(points, by=COST)
    assert [[(point.budget, point.eta) for point in strand] for strand in over_eta] == [
        [("a", 2), ("a", 8)],
        [("b", 2), ("b", 8)],
    ]
    over_passes = curves(points[::-1], by=PASSES)
    assert [[(point.eta, point.values[PASSES]) for point in strand] for strand in over_passes] == [
        [(2, 10), (2, 20)],
        [(8, 11), (8, 21)],
    ]
    assert curves([], by=COST) in ([], [[]])


def test_precision_makes_no_series_of_its_own(tmp_path: Path) -> None:
    changes: tuple[dict[str, str], ...] = (
        {},
        {"precision": "bf16"},
        {"precision": "bf16", "weight_precision": "fp32"},
    )
    for place, training in enumerate(changes):
        enter_made(tmp_path, made_spec(seed=place, training=training))
    [series] = layer_of_board(main_board(tmp_path)).series
    assert len(series.points) == 3
