"""The order of what is comparable, and the rank of each as far as its queries can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robustbench_dml.runs.record import Record
from robustbench_dml.utils.statistics import paired_p_values

ALPHA = 0.05
SEED = 0  # of the swaps; the same records always get the same ranks


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """What takes part in a ranking.

    Attributes:
        score: the mean that ranks; more is better.
        interval: its 95% interval over the queries.
        values: (Q,) of that score, None where they are not known.
        disqualified: it stands after all others and has no rank.
    """

    score: float
    interval: tuple[float, float]
    values: np.ndarray | None
    disqualified: bool


@dataclass(frozen=True)
class Ranked:
    """A record and its rank.

    Attributes:
        record: of a run.
        rank: 1 + the number of ranked records that are significantly better; None where a flag disqualifies it.
        tested: whether all its comparisons were paired ones.
    """

    record: Record
    rank: int | None
    tested: bool


def rank_order(contestants: Sequence[Contestant]) -> tuple[list[int], list[int | None], bool]:
    """The order and the ranks of what was measured on the same queries.

    One is significantly better than another if its score is higher and the paired test of the score over the queries
    has p < 0.05; where the values of either are not known, if their intervals do not overlap.

    Returns:
        Indices, the best score first and the disqualified last; the rank of each contestant, which is 1 + the number
        of those that are significantly better, None for the disqualified; and whether all comparisons were paired.
    """
    order = sorted(range(len(contestants)), key=lambda i: (contestants[i].disqualified, -contestants[i].score))
    honest = [i for i in order if not contestants[i].disqualified]
    known: dict[int, np.ndarray] = {}
    for i in honest:
        values = contestants[i].values
        if values is not None and len(values) == len(next(iter(known.values()), values)):
            known[i] = values
    column = {i: place for place, i in enumerate(known)}
    p = paired_p_values(np.stack(list(known.values()), axis=1), seed=SEED) if known else np.ones((0, 0))

    def better(one: int, other: int) -> bool:
        if one in column and other in column:
            higher = contestants[one].score > contestants[other].score
            return higher and bool(p[column[one], column[other]] < ALPHA)
        return contestants[one].interval[0] > contestants[other].interval[1]

    ranks = [
        None if one.disqualified else 1 + sum(better(other, i) for other in honest) for i, one in enumerate(contestants)
    ]
    return order, ranks, len(known) == len(honest)


def ranked_records(records: Sequence[Record], values: Mapping[str, np.ndarray | None] | None = None) -> list[Ranked]:
    """Comparable records, the best score first; the disqualified come after all others and have no rank.

    Args:
        records: of one data set and evaluation, so that they share their queries and the score that ranks.
        values: (Q,) of that score by digest, for those records where they are known.
    """
    order, ranks, tested = rank_order(
        [
            Contestant(
                score=record.primary_score,
                interval=record.intervals[record.score],
                values=(values or {}).get(record.digest),
                disqualified=bool(record.disqualifying),
            )
            for record in records
        ]
    )
    return [Ranked(records[i], ranks[i], tested) for i in order]
