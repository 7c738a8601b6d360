"""Boards hold what may be compared, and all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from board_support import (
    ENTRY,
    enter,
    enter_made,
    foreign_spec,
    made_record,
    made_spec,
    made_values,
    make_leaderboards,
)

from robustbench_dml.leaderboard.board import read_boards
from robustbench_dml.leaderboard.entries import Verification
from robustbench_dml.spec.protocols import protocol_columns
from robustbench_dml.utils.errors import RbdmlError


@pytest.fixture
def leaderboards(tmp_path: Path) -> Path:
    return make_leaderboards(tmp_path)


def test_the_main_board_has_the_data_sets_own_folder_and_comes_first(leaderboards: Path) -> None:
    main, other = read_boards(leaderboards)
    assert (main.main, main.name, main.folder) == (True, "glyphs-mini", leaderboards / "glyphs-mini")
    assert not other.main and other.folder.parent == main.folder
    assert other.folder.name.startswith("c2f2-ers-") and other.name == f"glyphs-mini-{other.folder.name}"
    assert [row.label for row in other.rows] == ["est"] and "PGD-64" in other.title
    assert set(main.columns) == set(protocol_columns("ers"))


@pytest.mark.parametrize("many", [64, 48])
def test_after_the_main_board_come_those_with_the_most_rows(tmp_path: Path, many: int) -> None:
    """Whatever their folders are called."""
    enter_made(tmp_path, made_spec("act"))
    for steps in (64, 48):
        for name in ("est", "madry")[: 2 if steps == many else 1]:
            enter_made(tmp_path, made_spec(name, evaluation={"steps": steps}))
    boards = read_boards(tmp_path)
    assert [(board.main, len(board.rows)) for board in boards] == [(True, 1), (False, 2), (False, 1)]
    assert boards[1].evaluation.threat.steps == many


def test_rows_are_ranked_and_the_disqualified_last_of_their_budget(leaderboards: Path) -> None:
    board = read_boards(leaderboards)[0]
    assert [row.label for row in board.rows] == ["hm-lga-ics", "act", "madry", "mine.py:factory@66666666"]
    assert [row.seeds for row in board.rows] == [(0, 1, 2), (0, 1, 2), (0,), ()]
    assert [row.rank for row in board.rows] == [1, 2, None, None]


def test_a_section_is_a_budget_or_baselines_or_models_from_elsewhere(leaderboards: Path) -> None:
    for name in ("regular", "pixels", "untrained"):
        trained = int(name == "regular")
        enter_made(leaderboards, made_spec(name), nominal=trained, passes=trained * 10**6)
    enter_made(leaderboards, made_spec("est", budget="20M"), passes=20_000_000)
    sections = read_boards(leaderboards)[0].sections
    assert {heading: sorted(row.label for row in rows) for heading, rows in sections.items()} == {
        "Budget: 20M passes": ["est"],
        "Budget: quick": ["act", "hm-lga-ics", "madry"],
        "Baselines": ["pixels", "regular", "untrained"],
        "Models from elsewhere": ["mine.py:factory@66666666"],
    }
    assert list(sections) == ["Budget: 20M passes", "Budget: quick", "Baselines", "Models from elsewhere"]


def test_costs_are_metered_or_declared_or_unknown(leaderboards: Path) -> None:
    enter_made(leaderboards, foreign_spec("another.py:factory"), level=0.1)
    board = read_boards(leaderboards)[0]
    assert {row.label.split(":")[0]: board.passes(row) for row in board.rows} == {
        "hm-lga-ics": (3e6, False),
        "act": (2e6, False),
        "mine.py": (5e6, True),
        "another.py": (None, False),
        "madry": (3e6, False),
    }


def test_a_row_is_verified_where_all_its_seeds_are(tmp_path: Path, verification: Verification) -> None:
    seen = ENTRY.model_copy(update={"verification": verification.model_copy(update={"disqualifying": []})})
    for seed, entry in enumerate((seen, ENTRY)):
        enter_made(tmp_path, made_spec("act", seed=seed), entry=entry)
        enter_made(tmp_path, made_spec("est", seed=seed), entry=seen)
    board = read_boards(tmp_path)[0]
    assert {row.label: board.status(row) for row in board.rows} == {"act": "self-reported", "est": "verified"}


def test_records_of_other_files_are_on_a_board_of_their_own(tmp_path: Path) -> None:
    enter_made(tmp_path, made_spec("act"))
    enter_made(tmp_path, made_spec("est"), files={"train": "1" * 64, "test": "8" * 64})
    assert [[row.label for row in board.rows] for board in read_boards(tmp_path)] in (
        [["act"], ["est"]],
        [["est"], ["act"]],
    )


def test_reruns_are_beside_their_entry_and_in_no_row(tmp_path: Path) -> None:
    spec = made_spec("act")
    record = made_record(spec, values := made_values(spec))
    again = made_record(spec, others := made_values(spec, seed=3))
    again = again.model_copy(update={"provenance": again.provenance.model_copy(update={"weights": "9" * 64})})
    enter(tmp_path, record, values, reruns=[(again, others)])
    [board] = read_boards(tmp_path)
    [row] = board.rows
    assert len(row.records) == 1
    [rerun] = board.listed[record.digest].reruns
    assert rerun.scores == again.scores != record.scores


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(RbdmlError, match="no such folder"):
        read_boards(tmp_path / "none")
    assert read_boards(tmp_path) == []


def test_ers_of_the_same_weights_stands_beside_the_radius(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Joined by the weights; of two evaluations, that on more queries counts."""
    monkeypatch.setattr("robustbench_dml.leaderboard.board.require_complete", lambda *_: None)
    levels = {32: 0.2, None: 0.6}
    for name in ("act", "est"):
        enter_made(tmp_path, made_spec(name, evaluation={"protocol": "radius"}))
    ers = [
        enter_made(tmp_path, made_spec("act", evaluation={"queries": queries}), level=level)
        for queries, level in levels.items()
    ]
    board = next(board for board in read_boards(tmp_path) if board.evaluation.protocol == "radius")
    assert {row.label: board.ers.get(row.key) for row in board.rows} == {"act": ers[1].scores["ERS"], "est": None}
    assert all(not other.ers for other in read_boards(tmp_path) if other.evaluation.protocol == "ers")


def test_the_leader_is_named_beside_the_baselines(leaderboards: Path, tmp_path: Path) -> None:
    enter_made(leaderboards, made_spec("pixels"), nominal=0, passes=0, level=0.1)
    board = read_boards(leaderboards)[0]
    best, pixels = board.rows[0], next(row for row in board.rows if row.label == "pixels")
    assert board.leader.startswith(f"hm-lga-ics, eta {best.eta}, has the highest ERS: {best.values['ERS']:.1f} +- ")
    by_seed = ", ".join(f"{record.primary_score:.1f}" for record in best.records)
    assert board.leader.endswith(f"(3 seeds: {by_seed}, budget: quick). Baselines: pixels {pixels.values['ERS']:.1f}.")
    enter_made(tmp_path / "foreign", foreign_spec())
    assert read_boards(tmp_path / "foreign")[0].leader == ""
