"""Rows are means over seeds, with intervals over queries, ranked as records are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from report_support import COLUMNS, SHARES, random_values, with_values

from robustbench_dml.report.rows import rows_of
from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import Record
from robustbench_dml.utils.statistics import RESAMPLES

Make = Callable[..., Record]
QUERIES = 60


@pytest.fixture
def seeds(make_record: Make) -> tuple[list[Record], dict[str, Values]]:
    """Three seeds of one defense, with their per-query values."""
    values = [random_values(QUERIES, seed=seed, level=0.3 + 0.1 * seed) for seed in range(3)]
    records = [with_values(make_record("act", seed=seed), own) for seed, own in enumerate(values)]
    return records, {record.digest: own for record, own in zip(records, values, strict=True)}


def test_a_row_is_the_mean_of_its_seeds(seeds: tuple[list[Record], dict[str, Values]]) -> None:
    records, values = seeds
    [row] = rows_of(records[::-1], values)
    assert row.seeds == (0, 1, 2) and row.records == tuple(records)
    assert set(row.values) == set(records[0].values)
    for name in row.values:
        own = [record.values[name] for record in records]
        assert row.values[name] == pytest.approx(sum(own) / 3)
        assert row.spread[name] == (min(own), max(own))
    assert (row.rank, row.tested, row.label, row.eta) == (1, True, "act", 32)
    assert row.passes == pytest.approx(3_000_000)


def test_its_intervals_resample_the_queries_of_all_seeds_together(
    seeds: tuple[list[Record], dict[str, Values]],
) -> None:
    """Against a loop that draws queries and works out the mean of the seeds' scores anew."""
    records, values = seeds
    [row] = rows_of(records, values)
    rng = np.random.default_rng(1)
    found: dict[str, list[float]] = {"ERS": [], "R@1": [], "sERS": []}
    for _ in range(RESAMPLES):
        drawn = rng.integers(QUERIES, size=QUERIES)
        parts = [
            with_values(record, {name: one[drawn] for name, one in values[record.digest].items()}) for record in records
        ]
        for name, all_ in found.items():
            all_.append(float(np.mean([part.values[name] for part in parts])))
    for name, all_ in found.items():
        expected = np.percentile(all_, [2.5, 97.5])
        width = expected[1] - expected[0]
        assert row.intervals[name] == pytest.approx(expected, abs=0.12 * width)


def test_one_seed_keeps_the_intervals_of_its_record(seeds: tuple[list[Record], dict[str, Values]]) -> None:
    records, values = seeds
    [row] = rows_of(records[:1], values)
    assert row.intervals == records[0].intervals


def test_without_values_of_queries_intervals_are_means_and_ranks_ask_for_overlap(
    seeds: tuple[list[Record], dict[str, Values]], make_record: Make
) -> None:
    records, values = seeds
    one = records[1].digest
    [row] = rows_of(records, {digest: own for digest, own in values.items() if digest != one})
    for name, (low, high) in row.intervals.items():
        assert low == pytest.approx(np.mean([record.intervals[name][0] for record in records]))
        assert high == pytest.approx(np.mean([record.intervals[name][1] for record in records]))
    assert not row.tested
    better = make_record("est", ers=row.values["ERS"] + 100)
    assert [(one.label, one.rank) for one in rows_of([*records, better])] == [("est", 1), ("act", 2)]


def test_rows_differ_by_anything_but_the_seed(make_record: Make) -> None:
    records = [
        make_record("act", seed=0),
        make_record("act", seed=1),
        make_record("act", seed=0, training={"eta": 8}),
        make_record("act", seed=0, params={"sampler": "S"}),
        make_record("act", seed=0, budget="1M"),
        make_record("est", seed=1),
    ]
    rows = rows_of(records)
    assert sorted(len(row.records) for row in rows) == [1, 1, 1, 1, 2]
    assert len({row.key for row in rows}) == 5
    assert records[0].spec.configuration == records[1].spec.configuration == records[0].digest


def test_a_flag_of_one_seed_disqualifies_the_row(make_record: Make) -> None:
    records = [make_record("act", seed=0, ers=90), make_record("act", seed=1, flags=("random",), ers=90)]
    order = rows_of([*records, make_record("est", ers=10)])
    assert [(row.label, row.rank, row.disqualifying) for row in order] == [("est", 1, []), ("act", None, ["random"])]


def test_ranks_use_the_seeds_mean_for_each_query(make_record: Make) -> None:
    """Two seeds that differ on every query from two others by the same little: alone by overlap, never told apart."""
    base = random_values(QUERIES, seed=5)
    shifted = {name: one + 0.01 * (name in COLUMNS and COLUMNS[name].ers_slope > 0) for name, one in base.items()}
    pairs = [("act", seed, base) for seed in (0, 1)] + [("est", seed, shifted) for seed in (0, 1)]
    records = [with_values(make_record(defense, seed=seed), values) for defense, seed, values in pairs]
    values = {record.digest: own for record, (_, _, own) in zip(records, pairs, strict=True)}
    assert [(row.label, row.rank) for row in rows_of(records, values)] == [("est", 1), ("act", 2)]
    assert [(row.label, row.rank) for row in rows_of(records)] == [("est", 1), ("act", 1)]
    assert set(SHARES) <= set(base)
