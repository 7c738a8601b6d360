"""Rows are means over seeds, with intervals over seeds and queries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from report_support import random_values, with_values
from scipy.special import stdtrit

from robustbench_dml.report.per_query import ranking_values
from robustbench_dml.report.ranking import Standing
from robustbench_dml.report.rows import rows_of
from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import Record

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
    assert (row.rank, row.standing, row.label, row.eta) == (1, Standing.RANKED, "act", 32)
    assert row.passes == pytest.approx(3_000_000)


def test_its_intervals_are_those_of_a_t_test_over_seeds_and_queries(
    seeds: tuple[list[Record], dict[str, Values]],
) -> None:
    """Worked out by hand: the variance between the seeds, and the covariance of two seeds over the queries."""
    records, values = seeds
    [row] = rows_of(records, values)
    found = [ranking_values(record, values[record.digest]) for record in records]
    per_query = np.stack([one for one in found if one is not None])
    between = np.var([record.values["ERS"] for record in records], ddof=1) / 3
    covariance = np.cov(per_query)
    shared = max(0.0, (covariance.sum() - covariance.trace()) / 6 / QUERIES)
    total = between + shared
    freedom = total**2 / (between**2 / 2 + shared**2 / (QUERIES - 1))
    half = stdtrit(freedom, 0.975) * total**0.5
    assert row.intervals["ERS"] == pytest.approx((row.values["ERS"] - half, row.values["ERS"] + half))
    assert row.intervals["sERS"][0] < row.values["sERS"] < row.intervals["sERS"][1]


def test_the_variance_between_seeds_is_that_of_all_rows(
    seeds: tuple[list[Record], dict[str, Values]], make_record: Make
) -> None:
    """A single seed has it, too; a disqualified row has no part in it, and the pixels have none of it."""
    records, values = seeds
    own = random_values(QUERIES, seed=9)
    alone, pixels = (with_values(make_record(name), own) for name in ("est", "pixels"))
    flagged = [make_record("madry", seed=seed, flags=("random",)) for seed in (0, 1)]
    wild = [with_values(one, random_values(QUERIES, seed=7, level=level)) for level, one in enumerate(flagged)]
    known = values | {record.digest: own for record in (alone, pixels)}
    rows = {row.label: row for row in rows_of([*records, alone, pixels, *wild], known)}
    widths = {label: high - low for label, (low, high) in ((row.label, row.intervals["ERS"]) for row in rows.values())}
    pooled = np.var([record.values["ERS"] for record in records], ddof=1)
    assert widths["est"] / 2 == pytest.approx(stdtrit(2, 0.975) * pooled**0.5, rel=0.1)
    assert widths["pixels"] < widths["est"] / 5
    standings = {label: row.standing for label, row in rows.items()}
    assert standings == {
        "act": Standing.RANKED,
        "est": Standing.PROVISIONAL,
        "pixels": Standing.BASELINE,
        "madry": Standing.DISQUALIFIED,
    }


def test_without_any_second_seed_the_queries_are_all_there_is(
    seeds: tuple[list[Record], dict[str, Values]],
) -> None:
    records, values = seeds
    [row] = rows_of(records[:1], values)
    one = ranking_values(records[0], values[records[0].digest])
    assert one is not None
    half = stdtrit(QUERIES - 1, 0.975) * (np.var(one, ddof=1) / QUERIES) ** 0.5
    assert row.intervals["ERS"] == pytest.approx((row.values["ERS"] - half, row.values["ERS"] + half))


def test_without_values_of_queries_their_variance_is_that_of_the_records_intervals(
    seeds: tuple[list[Record], dict[str, Values]],
) -> None:
    records, values = seeds
    one = records[1].digest
    [row] = rows_of(records, {digest: own for digest, own in values.items() if digest != one})
    between = np.var([record.values["ERS"] for record in records], ddof=1) / 3
    queries = np.mean([((high - low) / 3.92) ** 2 for low, high in (record.intervals["ERS"] for record in records)])
    freedom = (between + queries) ** 2 / (between**2 / 2)
    half = stdtrit(freedom, 0.975) * (between + queries) ** 0.5
    assert row.intervals["ERS"] == pytest.approx((row.values["ERS"] - half, row.values["ERS"] + half))


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
    assert [(row.label, row.standing, row.disqualifying) for row in order] == [
        ("est", Standing.PROVISIONAL, []),
        ("act", Standing.DISQUALIFIED, ["random"]),
    ]


def test_a_budget_of_iterations_is_one_with_its_eta(make_record: Make) -> None:
    budgets = {"1M": "1M passes", "quick": "quick", "10min": "600s", "schedule": "schedule, eta 32"}
    for given, shown in budgets.items():
        [row] = rows_of([make_record("act", budget=given)])
        assert row.budget == shown
