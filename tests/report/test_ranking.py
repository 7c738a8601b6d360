from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_support import COLUMNS, random_values, with_values, write_both
from scipy.stats import permutation_test

from robustbench_dml.report.per_query import ranking_values, readable_values
from robustbench_dml.report.ranking import Contestant, rank_order
from robustbench_dml.runs.record import QUERIES_FILE, Record, record_folders

Make = Callable[..., Record]


def scored(make_record: Make, ers: float, *, seed: int = 0, half: float = 1.0, flags: tuple[str, ...] = ()) -> Record:
    record = make_record(ers=ers, seed=seed, flags=flags)
    return record.model_copy(update={"intervals": {**record.intervals, "ERS": (ers - half, ers + half)}})


@dataclass(frozen=True)
class Ranked:
    record: Record
    rank: int | None
    tested: bool


def ranked_records(records: list[Record], values: dict[str, np.ndarray] | None = None) -> list[Ranked]:
    """Records in the order of their ranks, from (Q,) values of the score by digest."""
    order, ranks, tested = rank_order(
        [
            Contestant(
                score=record.primary_score,
                interval=record.intervals["ERS"],
                values=(values or {}).get(record.digest),
                disqualified=bool(record.disqualifying),
            )
            for record in records
        ]
    )
    return [Ranked(records[i], ranks[i], tested) for i in order]


def ranks(records: list[Record], values: dict[str, np.ndarray] | None = None) -> dict[int, int | None]:
    """Rank by seed."""
    return {one.record.spec.seed or 0: one.rank for one in ranked_records(records, values)}


def test_models_without_a_significant_difference_share_a_rank(make_record: Make) -> None:
    records = [scored(make_record, ers, seed=seed) for seed, ers in enumerate([10.0, 40.0, 38.5, 37.5, 50.0])]
    assert ranks(records) == {4: 1, 1: 2, 2: 2, 3: 3, 0: 5}
    assert [one.record.spec.seed for one in ranked_records(records)] == [4, 1, 2, 3, 0]


def test_intervals_that_touch_overlap(make_record: Make) -> None:
    assert ranks([scored(make_record, 10), scored(make_record, 12, seed=1)]) == {0: 1, 1: 1}
    assert ranks([scored(make_record, 10), scored(make_record, 12.01, seed=1)]) == {0: 2, 1: 1}


@pytest.mark.parametrize("flag", ["collapsed", "no gradient", "random", "one that is new"])
def test_a_flagged_record_has_no_rank_and_takes_none(make_record: Make, flag: str) -> None:
    records = [scored(make_record, 90, flags=(flag,)), scored(make_record, 20, seed=1), scored(make_record, 30, seed=2)]
    assert ranks(records) == {2: 1, 1: 2, 0: None}
    assert [one.record.spec.seed for one in ranked_records(records)] == [2, 1, 0]


def test_a_flag_that_only_doubts_the_attacks_costs_no_rank(make_record: Make) -> None:
    doubted = scored(make_record, 90, flags=("loss not level",))
    mild = doubted.diagnostics.model_copy(update={"disqualifying": []})
    doubted = doubted.model_copy(update={"diagnostics": mild})
    assert ranks([doubted, scored(make_record, 30, seed=1)]) == {0: 1, 1: 2}
    assert doubted.training_end is not None
    collapsed = doubted.training_end.model_copy(update={"collapsed_at": 7})
    doubted = doubted.model_copy(update={"training_end": collapsed})
    assert ranks([doubted, scored(make_record, 30, seed=1)]) == {1: 1, 0: None}


def test_only_flagged_records_have_no_ranks(make_record: Make) -> None:
    records = [scored(make_record, ers, seed=int(ers), flags=("random",)) for ers in (20.0, 30.0)]
    assert ranks(records) == {30: None, 20: None}
    assert [one.record.spec.seed for one in ranked_records(records, {records[0].digest: np.zeros(4)})] == [30, 20]


def test_paired_values_separate_models_with_overlapping_intervals(make_record: Make) -> None:
    """All queries agree that one is better, and queries differ much more than the models do."""
    queries = np.random.default_rng(0).normal(50, 30, size=100)
    records = [scored(make_record, 50.0, half=6), scored(make_record, 50.5, half=6, seed=1)]
    values = {records[0].digest: queries, records[1].digest: queries + 0.5}
    assert ranks(records) == {0: 1, 1: 1}
    assert ranks(records, values) == {0: 2, 1: 1}
    assert all(one.tested for one in ranked_records(records, values))
    assert not any(one.tested for one in ranked_records(records))


def test_paired_values_count_even_where_intervals_are_apart(make_record: Make) -> None:
    records = [scored(make_record, 50.0, half=0.1), scored(make_record, 50.5, half=0.1, seed=1)]
    rng = np.random.default_rng(0)
    values = {record.digest: rng.normal(50, 30, size=100) for record in records}
    assert ranks(records) == {0: 2, 1: 1}
    assert ranks(records, values) == {0: 1, 1: 1}


def test_a_record_without_values_is_compared_by_intervals(make_record: Make) -> None:
    records = [scored(make_record, ers, seed=seed) for seed, ers in enumerate([50.0, 50.5, 60.0])]
    queries = np.random.default_rng(0).normal(50, 30, size=100)
    values = {records[0].digest: queries, records[1].digest: queries + 0.5}
    assert ranks(records, values) == {2: 1, 1: 2, 0: 3}
    assert not any(one.tested for one in ranked_records(records, values))


def test_values_of_other_queries_are_not_paired(make_record: Make) -> None:
    records = [scored(make_record, 50.0), scored(make_record, 50.5, seed=1)]
    assert ranks(records, {records[0].digest: np.zeros(5), records[1].digest: np.ones(9)}) == {0: 1, 1: 1}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=5), st.integers(0, 50))
def test_ranks_count_the_better_models(make_record: Make, models: list[tuple[int, bool]], draw: int) -> None:
    rng = np.random.default_rng(draw)
    queries = rng.normal(size=12)
    records, values = [], {}
    for seed, (level, flagged) in enumerate(models):
        own = queries + 0.25 * level + 0.3 * rng.normal(size=12)
        record = scored(make_record, float(own.mean()), seed=seed, flags=("collapsed",) if flagged else ())
        records.append(record)
        values[record.digest] = own
    honest = [record for record in records if not record.flags]
    by_digest = {one.record.digest: one.rank for one in ranked_records(records, values)}
    for record in records:
        if record.flags:
            assert by_digest[record.digest] is None
            continue
        p = {
            other.digest: permutation_test(
                (values[other.digest], values[record.digest]),
                lambda a, b, axis: a.mean(axis) - b.mean(axis),
                permutation_type="samples",
                vectorized=True,
            ).pvalue
            for other in honest
            if other.primary_score > record.primary_score
        }
        if all(abs(value - 0.05) > 0.015 for value in p.values()):  # else the draws decide
            assert by_digest[record.digest] == 1 + sum(value < 0.05 for value in p.values())


@pytest.fixture
def saved(make_record: Make, tmp_path: Path) -> tuple[list[Record], list[dict[str, Any]], Path]:
    """Two records beside their values, one without, one whose values are another's."""
    values = [random_values(30, seed=seed) for seed in range(4)]
    records = [with_values(make_record(seed=seed), one) for seed, one in enumerate(values)]
    folder = tmp_path / "runs" / "glyphs-mini"
    records = [write_both(folder, record, one) for record, one in zip(records, values, strict=True)]
    (folder / records[2].digest / QUERIES_FILE).unlink()
    (folder / records[3].digest / QUERIES_FILE).write_bytes((folder / records[0].digest / QUERIES_FILE).read_bytes())
    return records, values, tmp_path / "runs"


def test_ranking_values_average_to_the_score(
    saved: tuple[list[Record], list[dict[str, Any]], Path],
) -> None:
    records, values, folder = saved
    known = readable_values(records, {path.name: path for path in record_folders(folder)})
    assert set(known) == {records[0].digest, records[1].digest}
    for record, own in zip(records[:2], values, strict=False):
        found = ranking_values(record, known[record.digest])
        assert found is not None
        for place, one in enumerate(found):
            shares = [column.ers(column.scale * own[name][place]) for name, column in COLUMNS.items()]
            assert one == pytest.approx(sum(shares) / len(shares))
        assert found.mean() == pytest.approx(record.primary_score)
