"""The order of comparable records, and the rank of each as far as its queries can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robustbench_dml.records import Record
from robustbench_dml.statistics import paired_p_values

ALPHA = 0.05
SEED = 0  # of the swaps; the same records always get the same ranks


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


def ranked(records: Sequence[Record], values: Mapping[str, np.ndarray] | None = None) -> list[Ranked]:
    """Comparable records, the best score first; the disqualified come after all others and have no rank.

    One record is significantly better than another if its score is higher and the paired test of the score over the
    queries has p < 0.05; where the values of either are not known, if their intervals do not overlap.

    Args:
        records: of one data set and evaluation, so that they share their queries and the score that ranks.
        values: (Q,) of that score by digest, for those records where they are known.
    """
    order = sorted(records, key=lambda record: (disqualified(record), -record.ers))
    honest = [record for record in order if not disqualified(record)]
    known = {record.digest: values[record.digest] for record in honest if values and record.digest in values}
    known = {digest: one for digest, one in known.items() if len(one) == len(next(iter(known.values())))}
    places = {digest: place for place, digest in enumerate(known)}
    p = paired_p_values(np.stack(list(known.values()), axis=1), seed=SEED) if known else np.ones((0, 0))

    def better(one: Record, other: Record) -> bool:
        if one.digest in places and other.digest in places:
            return one.ers > other.ers and bool(p[places[one.digest], places[other.digest]] < ALPHA)
        return one.intervals[one.score][0] > other.intervals[other.score][1]

    return [
        Ranked(
            record,
            None if disqualified(record) else 1 + sum(better(other, record) for other in honest),
            len(known) == len(honest),
        )
        for record in order
    ]


def disqualified(record: Record) -> bool:
    """Whether it has a flag, other than those that only say that the attacks could have been stronger."""
    return bool(record.disqualifying)
