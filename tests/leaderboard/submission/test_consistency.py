"""Records beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from board_support import enter_made, foreign_spec, made_record, made_spec, made_values

from robustbench_dml.leaderboard.entries import Listed, read_all, read_entry
from robustbench_dml.leaderboard.submission.consistency import consistency_problems, missing_seeds
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.schema import RunSpec


@pytest.fixture
def leaderboards(tmp_path: Path) -> Path:
    return tmp_path / "leaderboards"


def entered(leaderboards: Path, spec: RunSpec, **provenance: object) -> Listed:
    """An entry with weights and values of its own, unless they are given."""
    enter_made(leaderboards, spec)
    listed = next(one for one in read_all(leaderboards) if one.record.digest == spec.digest)
    own = {"weights": spec.digest * 4, "queries": spec.digest[::-1] * 4, **provenance}
    record = listed.record.model_copy(update={"provenance": listed.record.provenance.model_copy(update=own)})
    return Listed(record, listed.entry, listed.folder)


def test_different_runs_have_nothing_to_say_of_each_other(leaderboards: Path) -> None:
    specs = [
        made_spec("act"),
        made_spec("act", seed=1),
        made_spec("act", evaluation={"steps": 64}),
        made_spec("regular", dataset="mnist"),
    ]
    entries = [entered(leaderboards, spec) for spec in specs]
    assert consistency_problems(entries) == []


def test_the_same_weights_under_another_name(leaderboards: Path) -> None:
    first = entered(leaderboards, made_spec("act"))
    copy = entered(leaderboards, made_spec("madry"), weights=first.record.provenance.weights)
    [problem] = consistency_problems([first, copy])
    assert copy.record.digest in problem
    assert "same weights under the same evaluation" in problem


def test_the_same_weights_under_another_evaluation_are_another_board(leaderboards: Path) -> None:
    first = entered(leaderboards, made_spec("act"))
    again = made_spec("act", evaluation={"steps": 64})
    assert consistency_problems([first, entered(leaderboards, again, weights=first.record.provenance.weights)]) == []


def test_the_same_values_under_another_name(leaderboards: Path) -> None:
    first = entered(leaderboards, made_spec("act"))
    copy = entered(leaderboards, made_spec("madry"), queries=first.record.provenance.queries)
    [problem] = consistency_problems([first, copy])
    assert "has the per-query values of" in problem


def test_a_rerun_with_the_weights_of_its_entry_is_a_copy(leaderboards: Path) -> None:
    first = entered(leaderboards, made_spec("act"))
    [problem] = consistency_problems([Listed(first.record, first.entry, first.folder, (first.record,))])
    assert "one of them is a copy" in problem


def test_other_data_files_on_one_board(leaderboards: Path) -> None:
    first = entered(leaderboards, made_spec("act"))
    other = entered(leaderboards, made_spec("madry"), dataset_files={"train": "9" * 64})
    [problem] = consistency_problems([first, other])
    assert "made from other files of 'glyphs-mini'" in problem


def records(*seeds: int, **settings: Any) -> list[Record]:
    specs = [made_spec("act", seed=seed, **settings) for seed in seeds]
    return [made_record(spec, made_values(spec)) for spec in specs]


@pytest.mark.parametrize("seeds", [(0,), (0, 1), (2, 0, 1)])
def test_seeds_from_zero_on(seeds: tuple[int, ...]) -> None:
    assert missing_seeds(records(*seeds)) == []


@pytest.mark.parametrize(("seeds", "missing"), [((1,), "0"), ((0, 2), "1"), ((3, 5), "0, 1"), ((0, 1, 7), "2")])
def test_picked_seeds(seeds: tuple[int, ...], missing: str) -> None:
    [problem] = missing_seeds(records(*seeds))
    shown = ", ".join(map(str, sorted(seeds)))
    assert problem.startswith(f"act on glyphs-mini has seeds {shown} and not {missing}: ")


def test_seeds_of_other_settings_do_not_fill_in() -> None:
    assert len(missing_seeds([*records(0), *records(1, training={"eta": 8})])) == 1


def test_models_from_elsewhere_have_no_seeds(leaderboards: Path) -> None:
    spec = foreign_spec()
    enter_made(leaderboards, spec)
    [listed] = read_all(leaderboards)
    assert read_entry(listed.folder) == listed.entry
    assert consistency_problems([listed]) == []


def test_baselines_without_training_share_their_weights(leaderboards: Path) -> None:
    first = entered(leaderboards, made_spec("untrained"))
    second = entered(leaderboards, made_spec("pixels"), weights=first.record.provenance.weights)
    assert consistency_problems([first, second]) == []
    again = entered(leaderboards, made_spec("pixels", seed=1), queries=first.record.provenance.queries)
    [problem] = consistency_problems([first, second, again])
    assert "has the per-query values of" in problem
