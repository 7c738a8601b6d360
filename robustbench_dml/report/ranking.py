"""Ranks of comparable models, from a paired test over the queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robustbench_dml.utils.statistics import paired_p_values

ALPHA = 0.05
SEED = 0  # seed of the permutation test: the same records always get the same ranks


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A model to rank.

    Attributes:
        score: mean of the ranking score; higher is better.
        interval: 95% interval of the score over the queries.
        values: (Q,) values of the score; None if unknown.
        disqualified: whether the model stands after all others, without a rank.
    """

    score: float
    interval: tuple[float, float]
    values: np.ndarray | None
    disqualified: bool


def rank_order(contestants: Sequence[Contestant]) -> tuple[list[int], list[int | None], bool]:
    """Order and rank models measured on the same queries.

    A model is significantly better than another if its score is higher and the paired test of the score over the
    queries has p < 0.05. Where per-query values are unknown, the intervals must not overlap.

    Returns:
        Indices with the best score first and the disqualified last. The rank of each contestant: 1 + the number of
        significantly better models, None for the disqualified. Whether all comparisons were paired tests.
    """
    order = sorted(range(len(contestants)), key=lambda i: (contestants[i].disqualified, -contestants[i].score))
    honest = [i for i in order if not contestants[i].disqualified]
    known: dict[int, np.ndarray] = {}
    for i in honest:
        values = contestants[i].values
        if values is not None and len(values) == len(next(iter(known.values()), values)):
            known[i] = values
    column = {i: index for index, i in enumerate(known)}
    p = paired_p_values(np.stack(list(known.values()), axis=1), seed=SEED) if known else np.ones((0, 0))

    def better(first: int, second: int) -> bool:
        if first in column and second in column:
            higher = contestants[first].score > contestants[second].score
            return higher and bool(p[column[first], column[second]] < ALPHA)
        return contestants[first].interval[0] > contestants[second].interval[1]

    ranks = [
        None if contestant.disqualified else 1 + sum(better(other, i) for other in honest)
        for i, contestant in enumerate(contestants)
    ]
    return order, ranks, len(known) == len(honest)
