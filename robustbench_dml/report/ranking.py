"""Ranks of comparable defenses, from a test over training seeds and queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np

from robustbench_dml.utils.statistics import Variance, holm, pooled_variance, shared_covariance

ALPHA = 0.05
LEAST_SEEDS = 3  # trainings that a rank needs


class Standing(StrEnum):
    """The part of a row in the ranking."""

    RANKED = "ranked"
    PROVISIONAL = "provisional"  # fewer seeds than a rank needs
    BASELINE = "baseline"
    MODEL = "model"  # one set of weights, from elsewhere
    DISQUALIFIED = "disqualified"


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A row to rank.

    Attributes:
        seeds: the ranking score of each training; higher is better.
        seeded: whether trainings differ by their seed.
        values: (S, Q) values of the score for each seed and query; None if unknown.
        queries: variance of the score by the choice of queries, where `values` is None.
        standing: part in the ranking.
        budget: only rows of one budget are ranked together.
    """

    seeds: tuple[float, ...]
    seeded: bool
    values: np.ndarray | None
    queries: float
    standing: Standing
    budget: str

    @property
    def score(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.seeds))


class Difference(NamedTuple):
    """First minus second of two rows.

    Attributes:
        value: difference of the means over seeds and queries.
        half: half its 95% interval.
        above: probability that the first is above the second.
    """

    value: float
    half: float
    above: float

    @property
    def p(self) -> float:
        """The two-sided p of the t test."""
        return 2 * min(self.above, 1 - self.above)


class Placed(NamedTuple):
    """Results of a ranking for one row: its rank, and the index of a baseline that it is not significantly above."""

    rank: int | None
    not_above: int | None


class Contest:
    """Comparable rows, with the variances that their differences share."""

    def __init__(self, contestants: Sequence[Contestant]) -> None:
        self._all = contestants
        honest = [one for one in contestants if one.standing is not Standing.DISQUALIFIED]
        self.between_seeds = pooled_variance([one.seeds for one in honest])

    @cached_property
    def _covariance(self) -> np.ndarray:
        """(M, M) covariance of the scores by the choice of queries; 0 between rows without the same queries."""
        covariance = np.diag([one.queries for one in self._all]).astype(float)
        known = [place for place, one in enumerate(self._all) if one.values is not None]
        tables = [values for place in known if (values := self._all[place].values) is not None]
        same = [place for place, table in zip(known, tables, strict=True) if table.shape[1] == tables[0].shape[1]]
        if same:
            shared = shared_covariance([table for table in tables if table.shape[1] == tables[0].shape[1]])
            covariance[np.ix_(same, same)] = shared
        return covariance

    def difference(self, first: int, second: int) -> Difference:
        """Compare two rows: the t test over their seeds and the queries that they share."""
        covariance, ours, theirs = self._covariance, self._all[first], self._all[second]
        queries = covariance[first, first] + covariance[second, second] - 2 * covariance[first, second]
        trainings = sum(1 / len(one.seeds) for one in (ours, theirs) if one.seeded)
        value = ours.score - theirs.score
        variance = Variance(trainings * self.between_seeds.amount, self.between_seeds.freedom)
        variance += Variance(max(0.0, float(queries)), max(map(_freedom, (ours, theirs))))
        return Difference(value, variance.half_width(), variance.probability_above(value))

    def placed(self) -> list[Placed]:
        """Rank the rows, and compare each with the best baseline. All p are corrected together (Holm).

        A rank is 1 + the number of significantly better ranked rows of the same budget.
        """
        standings = [one.standing for one in self._all]
        best = max(_places(standings, Standing.BASELINE), key=lambda place: self._all[place].score, default=None)
        trained = _places(standings, Standing.RANKED, Standing.PROVISIONAL)
        pairs = [
            (first, second)
            for first, second in combinations(_places(standings, Standing.RANKED), 2)
            if self._all[first].budget == self._all[second].budget
        ]
        pairs += [(place, best) for place in trained if best is not None]
        found = {f"{first} {second}": self.difference(first, second) for first, second in pairs}
        p = holm({pair: difference.p for pair, difference in found.items()})
        better: set[tuple[int, int]] = set()
        for first, second in pairs:
            pair = f"{first} {second}"
            if p[pair] < ALPHA:
                better.add((first, second) if found[pair].value > 0 else (second, first))
        return [
            Placed(
                1 + sum((other, place) in better for other in _places(standings, Standing.RANKED))
                if standings[place] is Standing.RANKED
                else None,
                best if place in trained and best is not None and (place, best) not in better else None,
            )
            for place in range(len(self._all))
        ]


def _places(standings: Sequence[Standing], *wanted: Standing) -> list[int]:
    return [place for place, standing in enumerate(standings) if standing in wanted]


def _freedom(contestant: Contestant) -> float:
    """Degrees of freedom of the variance over the queries."""
    return float("inf") if contestant.values is None else max(1, contestant.values.shape[1] - 1)
