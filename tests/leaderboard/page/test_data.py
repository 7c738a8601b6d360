from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_support import ENTRY, enter, enter_made, foreign_spec, made_record, made_spec, made_values, make_leaderboards

from robustbench_dml.leaderboard.board import read_boards
from robustbench_dml.leaderboard.entries import Verification
from robustbench_dml.leaderboard.page.data import page_data, protocol_line
from robustbench_dml.report.figures.style import family_of
from robustbench_dml.report.published import NAMES, read_published
from robustbench_dml.runs.record import find_records, read_record
from robustbench_dml.spec.schema import ExternalSpec, RunSpec

DIGITS = "0123456789abcdef"


@pytest.fixture(scope="module")
def leaderboards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_leaderboards(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def shown(leaderboards: Path) -> dict[str, Any]:
    return page_data(read_boards(leaderboards), read_published())


def runs_of(data: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    return [(board, row, run) for board in data["boards"] for row in board["rows"] for run in row["runs"]]


def test_it_is_plain_and_the_same_each_time(leaderboards: Path, shown: dict[str, Any]) -> None:
    text = json.dumps(shown, allow_nan=False)
    assert json.loads(text) == shown
    assert json.dumps(page_data(read_boards(leaderboards), read_published())) == text


def test_every_record_is_in_it_once_and_its_address_leads_there(leaderboards: Path, shown: dict[str, Any]) -> None:
    found = [leaderboards / board["records"] / run["digest"] for board, _, run in runs_of(shown)]
    assert sorted(read_record(path).digest for path in found) == sorted(
        one.digest for one in find_records(leaderboards)
    )


def test_the_spec_can_be_put_together_again(leaderboards: Path, shown: dict[str, Any]) -> None:
    for board, row, run in runs_of(shown):
        seed = {} if run["seed"] is None else {"seed": run["seed"]}
        told = {**shown["shared"][row["spec"]], **seed, "evaluation": board["evaluation"]}
        kind = ExternalSpec if "model" in told else RunSpec
        assert kind.model_validate_json(json.dumps(told)).digest == run["digest"]


def test_values_are_those_of_the_rows(leaderboards: Path, shown: dict[str, Any]) -> None:
    boards = {board.name: board for board in read_boards(leaderboards)}
    for told in shown["boards"]:
        names = [column["name"] for column in told["columns"]]
        assert names == list(dict.fromkeys(names))
        for row, source in zip(told["rows"], boards[told["name"]].rows, strict=True):
            assert (row["key"], row["rank"], row["name"]) == (source.key, source.rank, source.name)
            for name, found in zip(names, row["values"], strict=True):
                expected = [source.values[name], *source.intervals.get(name, ())]
                expected += source.spread[name] if len(source.records) > 1 and name in source.intervals else ()
                assert np.allclose(found, expected, rtol=1e-4, atol=0)


def test_seeds_of_a_row_keep_their_own_values(leaderboards: Path, shown: dict[str, Any]) -> None:
    records = {record.digest: record for record in find_records(leaderboards)}
    several = [(board, row, run) for board, row, run in runs_of(shown) if len(row["runs"]) > 1]
    assert several
    for board, _, run in several:
        own = [records[run["digest"]].values[column["name"]] for column in board["columns"]]
        assert np.allclose(run["values"], own, rtol=1e-4)
    assert all("values" not in run for _, row, run in runs_of(shown) if len(row["runs"]) == 1)


def test_costs_are_metered_or_declared(shown: dict[str, Any]) -> None:
    main = next(board for board in shown["boards"] if board["main"])
    rows = {row["label"]: row for row in main["rows"]}
    assert (rows["act"]["eta"], rows["act"]["nominal"], rows["act"]["metered"]) == (8, 9, 21.25)
    assert (rows["act"]["passes"], rows["act"]["declared"], rows["act"]["budget"]) == (2e6, False, "quick")
    foreign = rows["mine.py:factory@66666666"]
    assert (foreign["passes"], foreign["declared"], foreign["eta"], foreign["budget"]) == (5e6, True, None, None)
    assert (
        foreign["runs"][0]["cost"] is None
        and foreign["runs"][0]["entry"]["checkpoint"] == "https://example.org/weights"
    )


def test_rows_stand_in_their_sections_with_a_rank_or_why_there_is_none(shown: dict[str, Any]) -> None:
    main = next(board for board in shown["boards"] if board["main"])
    assert [(row["label"], row["section"], row["standing"], row["rank"]) for row in main["rows"]] == [
        ("hm-lga-ics", "Budget: quick", "ranked", 1),
        ("act", "Budget: quick", "ranked", 2),
        ("madry", "Budget: quick", "disqualified", None),
        ("mine.py:factory@66666666", "Models from elsewhere", "model", None),
    ]


def test_a_row_that_is_not_above_a_baseline_says_so(tmp_path: Path) -> None:
    for name, level in (("regular", 0.5), ("act", 0.5), ("est", 0.9)):
        enter_made(tmp_path, made_spec(name), level=level)
    [board] = page_data(read_boards(tmp_path), [])["boards"]
    assert {row["label"]: row["notAbove"] for row in board["rows"]} == {"act": "regular", "est": None, "regular": None}


def test_a_budget_without_a_name_says_its_unit(tmp_path: Path) -> None:
    for budget in ("5M", "10min", "standard"):
        enter_made(tmp_path, made_spec("act", budget=budget))
    [board] = page_data(read_boards(tmp_path), [])["boards"]
    assert {row["budget"] for row in board["rows"]} == {"5M passes", "600s", "standard"}


def test_what_is_not_as_published_is_told(tmp_path: Path) -> None:
    enter_made(tmp_path, made_spec("act", params={"sampler": "S"}, training={"lr": 0.01}))
    [board] = page_data(read_boards(tmp_path), [])["boards"]
    [row] = board["rows"]
    assert (row["written"], row["settings"], row["family"]) == ("ACT[S]", ["lr=0.01"], family_of("act"))


def test_columns_say_what_they_mean_and_what_is_better(shown: dict[str, Any]) -> None:
    better = {column["name"]: column["better"] for column in shown["boards"][0]["columns"]}
    lower = {name for name, sign in better.items() if sign == -1}
    assert lower == {"CA-", "QA-", "TMA", "ES:D"}
    assert all(column["meaning"] for column in shown["boards"][0]["columns"])


def test_attacked_columns_carry_the_scale_of_the_score(shown: dict[str, Any]) -> None:
    """The mean over the columns, each on that scale, is the score."""
    board = shown["boards"][0]
    place = {column["name"]: n for n, column in enumerate(board["columns"])}
    for row in board["rows"]:
        scaled = [
            column["offset"] + column["slope"] * row["values"][place[column["name"]]][0]
            for column in board["columns"]
            if column.get("counts")
        ]
        assert np.mean(scaled) == pytest.approx(row["values"][place["ERS"]][0], rel=1e-3)


def test_the_protocol_line_leaves_nothing_out() -> None:
    changes = {
        "queries": 64,
        "seed": 3,
        "precision": "bf16",
        "extra_attacks": ["ca+w2"],
        "steps": 9,
        "solver_params": {"restarts": 4},
    }
    line = protocol_line(made_spec("act", evaluation=changes).evaluation)
    assert line == (
        "protocol ers: PGD-9, restarts=4, eps 77/255, alpha 3/255, 64 queries, draws from seed 3, steps in bf16, "
        "also ca+w2"
    )
    ranked = made_spec("act", evaluation={"protocol": "autorank", "surrogate": DIGITS}).evaluation
    assert f"surrogate {DIGITS[:8]}" in protocol_line(ranked)


def test_attacks_beside_the_protocol_do_not_count(tmp_path: Path) -> None:
    enter_made(tmp_path, made_spec("act", evaluation={"extra_attacks": ["ca+w2"]}))
    [board] = page_data(read_boards(tmp_path), [])["boards"]
    counts = {column["name"]: column["counts"] for column in board["columns"] if column["group"] == "attacked"}
    assert counts["CA+"] and not counts["CA+ W=2"]


def test_other_protocols_have_their_own_columns(tmp_path: Path) -> None:
    enter_made(tmp_path, made_spec("act", evaluation={"protocol": "autorank", "surrogate": DIGITS}))
    [board] = page_data(read_boards(tmp_path), [])["boards"]
    assert board["score"] == "AutoRank"
    assert {"AR:Q", "AR:C", "AR:C1"} <= {column["name"] for column in board["columns"]}


def test_flags_of_the_second_evaluation_count_and_reruns_are_shown(tmp_path: Path) -> None:
    spec = made_spec("act")
    values = made_values(spec)
    record = made_record(spec, values, flags=["loss not level"])
    second = made_values(spec, seed=9)
    again = made_record(spec, second)
    found = Verification(
        created="2026-05-06T07:08:09+00:00",
        queries=5,
        differences={"ERS": 0.123456},
        unequal=0.25,
        flags=["random"],
        disqualifying=["random"],
        versions={"torch": "2.10.0"},
        device="another processor",
        commit=None,
        dirty=None,
    )
    enter(tmp_path, record, values, entry=ENTRY.model_copy(update={"verification": found}), reruns=[(again, second)])
    data = page_data(read_boards(tmp_path), [])
    [[board, row, run]] = runs_of(data)
    assert (row["status"], row["flags"], row["disqualifying"]) == ("verified", ["loss not level", "random"], ["random"])
    assert row["rank"] is None and run["disqualifying"] == ["random"]
    names, differences = run["entry"]["verification"]["differences"]
    assert (data["shared"][names], differences) == (["ERS"], [0.123])
    [rerun] = run["reruns"]
    place = [column["name"] for column in board["columns"]].index("ERS")
    assert rerun["values"][place] == pytest.approx(again.primary_score, rel=1e-4)


def test_commands_are_there_for_every_run(shown: dict[str, Any]) -> None:
    commands = [shlex.split(run["command"])[:2] for *_, run in runs_of(shown)]
    assert commands.count(["rbdml", "evaluate"]) == 1
    assert commands.count(["rbdml", "run"]) == len(commands) - 1


def test_models_from_elsewhere_alone_make_a_board_without_a_backbone(tmp_path: Path) -> None:
    enter_made(tmp_path, foreign_spec())
    [board] = page_data(read_boards(tmp_path), [])["boards"]
    assert board["network"] is None and board["rows"][0]["symbol"]


def test_reported_results_are_as_in_the_file(shown: dict[str, Any]) -> None:
    source = read_published()
    assert [(one["dataset"], one["defense"], one["eta"], one["values"]) for one in shown["reported"]] == [
        (one.dataset, one.defense, one.eta, one.values) for one in source
    ]
    assert {column["name"] for column in shown["reportedColumns"]} == set(NAMES.values())


def test_a_defense_looks_the_same_in_both_layers(shown: dict[str, Any], tmp_path: Path) -> None:
    enter_made(tmp_path, made_spec("hm-s-lga", dataset="cub", pretrained=False))
    data = page_data(read_boards(tmp_path), read_published())
    [[_, row, _]] = runs_of(data)
    same = [one for one in data["reported"] if one["dataset"] == "cub" and one["defense"] == row["written"]]
    assert same
    assert {(one["family"], one["symbol"], one["dash"]) for one in same} == {
        (row["family"], row["symbol"], row["dash"])
    }


def test_no_boards_and_no_reported_results_are_shown_as_none() -> None:
    assert page_data([], [])["boards"] == page_data([], [])["reported"] == []
