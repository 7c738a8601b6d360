"""Ranks count the significantly better defenses of a budget, by a test over seeds and queries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_support import COLUMNS, random_values, with_values, write_both
from scipy.stats import ttest_ind, ttest_rel

from robustbench_dml.report.per_query import ranking_values, readable_values
from robustbench_dml.report.ranking import ALPHA, Contest, Contestant, Standing
from robustbench_dml.runs.record import QUERIES_FILE, Record, record_folders

Make = Callable[..., Record]
QUERIES = 200


def contestant(
    level: float, *, seeds: int = 3, spread: float = 0.0, budget: str = "1M", standing: Standing = Standing.RANKED
) -> Contestant:
    """Seeds around a level, on queries that are the same for all."""
    rng = np.random.default_rng(int(100 * level) + seeds)
    hard = np.random.default_rng(0).normal(0, 10, size=QUERIES)
    values = level + hard + spread * np.linspace(-1, 1, seeds)[:, None] + rng.normal(size=(seeds, QUERIES))
    return Contestant(
        seeds=tuple(values.mean(1)),
        seeded=True,
        values=values,
        queries=0.0,
        standing=standing,
        budget=budget,
    )


def ranks(*contestants: Contestant) -> list[int | None]:
    return [placed.rank for placed in Contest(contestants).placed()]


def test_defenses_that_no_test_separates_share_a_rank() -> None:
    assert ranks(contestant(10), contestant(20), contestant(20.1), contestant(30)) == [4, 2, 2, 1]


def test_a_spread_of_seeds_that_exceeds_the_gap_leaves_no_difference() -> None:
    """Paired over the queries alone, the two would differ by a hundred standard errors."""
    pair = [contestant(20, spread=4), contestant(22, spread=4)]
    assert ttest_rel(*(one.values.mean(0) for one in pair if one.values is not None)).pvalue < 1e-9
    assert ranks(*pair) == [1, 1]
    assert ranks(*(contestant(level, spread=0.1) for level in (20, 22))) == [2, 1]


def test_ranks_are_within_a_budget() -> None:
    assert ranks(contestant(10), contestant(20), contestant(5, budget="32M"), contestant(6, budget="32M")) == [
        2,
        1,
        2,
        1,
    ]


@pytest.mark.parametrize("standing", [one for one in Standing if one is not Standing.RANKED])
def test_what_is_not_ranked_has_no_rank_and_takes_none(standing: Standing) -> None:
    assert ranks(contestant(90, standing=standing), contestant(20), contestant(30)) == [None, 2, 1]


def test_the_best_baseline_must_be_exceeded() -> None:
    base = Standing.BASELINE
    placed = Contest(
        [
            contestant(5, standing=base),
            contestant(20, standing=base),
            contestant(20.05),
            contestant(12, seeds=1, standing=Standing.PROVISIONAL),
            contestant(30),
        ]
    ).placed()
    assert [one.not_above for one in placed] == [None, None, 1, 1, None]


def test_the_test_is_that_of_two_samples_of_seeds_where_queries_do_not_matter() -> None:
    """Without an effect of queries, the means of the seeds are all there is: Student's t test."""
    rng = np.random.default_rng(0)
    means = [rng.normal(level, 1, size=5) for level in (0, 1.2)]
    pair = [
        Contestant(
            seeds=tuple(group),
            seeded=True,
            values=np.repeat(group[:, None], 7, axis=1),
            queries=0,
            standing=Standing.RANKED,
            budget="",
        )
        for group in means
    ]
    found, theirs = Contest(pair).difference(0, 1), ttest_ind(*means)
    assert found.p == pytest.approx(theirs.pvalue)
    assert found.value == pytest.approx(means[0].mean() - means[1].mean())
    low, high = theirs.confidence_interval()
    assert found.half == pytest.approx((high - low) / 2)
    assert found.above == pytest.approx(theirs.pvalue / 2)


def test_the_test_is_paired_over_queries_where_no_defense_has_two_seeds() -> None:
    pair = [contestant(level, seeds=1) for level in (20, 20.2)]
    one, other = (each.values[0] for each in pair if each.values is not None)
    assert Contest(pair).difference(0, 1).p == pytest.approx(ttest_rel(one, other).pvalue)


def test_rows_of_other_queries_or_without_values_are_independent() -> None:
    one, other = contestant(20), contestant(25)
    assert one.values is not None
    few = Contestant(**{**vars(one), "values": one.values[:, :50], "queries": 0.5})
    unknown = Contestant(**{**vars(other), "values": None, "queries": 0.5})
    paired = Contest([one, other]).difference(0, 1).half
    for pair in ([few, other], [one, unknown], [few, unknown]):
        assert Contest(pair).difference(0, 1).half > 5 * paired


def test_equal_defenses_are_separated_as_seldom_as_the_level_allows() -> None:
    """The chance of any false alarm among all pairs of a board of equal defenses."""
    rng, boards, alarms = np.random.default_rng(0), 400, 0
    for _ in range(boards):
        hard = rng.normal(size=30)
        tables = [rng.normal(size=(3, 1)) + hard + rng.normal(size=(3, 30)) for _ in range(4)]
        found = [Contestant(**{**vars(contestant(0)), "values": t, "seeds": tuple(t.mean(1))}) for t in tables]
        alarms += set(ranks(*found)) != {1}
    assert alarms / boards <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / boards) ** 0.5


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
