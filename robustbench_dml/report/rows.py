"""Runs that differ by their seed alone, as one row of a table and one point of a plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robustbench_dml.report.per_query import ranking_values, shown_values, summary_for
from robustbench_dml.report.ranking import Contestant, rank_order
from robustbench_dml.report.tables import model_name
from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.protocols import evaluated_columns
from robustbench_dml.spec.schema import Frozen, RunSpec
from robustbench_dml.utils.randomness import seed_of
from robustbench_dml.utils.statistics import Summary, bootstrap_interval

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One defense as it was set and budgeted, over its seeds.

    Attributes:
        key: digest of what its runs share; its address on a page.
        records: of its runs, seeds rising; at least one.
        values: mean over the seeds of everything that the records show, in the units of the papers.
        intervals: 95% of these means, bootstrap over the queries; a seed more or less is not in them.
        spread: the least and the greatest of the seeds.
        rank: 1 + the number of rows that are significantly better; None where a flag disqualifies it.
        tested: whether the ranks of its table come from paired tests alone.
    """

    key: str
    records: tuple[Record, ...]
    values: dict[str, float]
    intervals: dict[str, Interval]
    spread: dict[str, Interval]
    rank: int | None
    tested: bool

    @property
    def name(self) -> str:
        """The defense, and what of its parameters is not the entry's own."""
        return model_name(self.records[0])

    @property
    def label(self) -> str:
        """The defense alone."""
        return self.records[0].spec.label

    @property
    def score(self) -> str:
        """The name of the score that ranks."""
        return self.records[0].score

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of its runs; none where training was not ours."""
        return tuple(record.spec.seed for record in self.records if record.spec.seed is not None)

    @property
    def eta(self) -> int | None:
        """PGD steps in training, the cost of which the papers count; None where that is not known, 0 for none."""
        cost = self.records[0].cost
        return None if cost is None else cost.nominal_per_iteration - 1

    @property
    def passes(self) -> float | None:
        """Metered image passes of a training, mean over the seeds; None where training was not ours."""
        costs = [record.cost.passes for record in self.records if record.cost is not None]
        return float(np.mean(costs)) if costs else None

    @property
    def metered(self) -> float | None:
        """Passes of the batch per iteration as metered, mean over the seeds; None where training was not ours."""
        found = [record.cost.metered_per_iteration for record in self.records if record.cost is not None]
        return float(np.mean(found)) if found else None

    @property
    def flags(self) -> list[str]:
        """Of any of its records."""
        return _union(record.flags for record in self.records)

    @property
    def disqualifying(self) -> list[str]:
        """Likewise, those with which it has no rank."""
        return _union(record.disqualifying for record in self.records)


def rows_of(records: Sequence[Record], values: Mapping[str, Values] | None = None) -> list[Row]:
    """Comparable records as rows, the best first and the disqualified last.

    Args:
        records: of one data set, backbone and evaluation.
        values: per-query values by digest (`per_query.read_values`), for those records where they are at hand. Without
            them, intervals of several seeds are means of theirs, and ranks ask whether intervals overlap.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(configuration(record.spec), []).append(record)
    rows = [_row(key, group, values or {}) for key, group in groups.items()]
    order, ranks, tested = rank_order(
        [
            Contestant(
                score=row.values[row.score],
                interval=row.intervals[row.score],
                values=_ranking(row, values or {}),
                disqualified=bool(row.disqualifying),
            )
            for row in rows
        ]
    )
    return [Row(**{**vars(rows[i]), "rank": ranks[i], "tested": tested}) for i in order]


def configuration(spec: Frozen) -> str:
    """What runs share that differ by their seed alone, as a digest."""
    same = spec.model_copy(update={"seed": 0}) if isinstance(spec, RunSpec) else spec
    return same.digest  # type: ignore[attr-defined]


def _row(key: str, group: Sequence[Record], values: Mapping[str, Values]) -> Row:
    records = tuple(sorted(group, key=lambda record: record.spec.seed or 0))
    common = [name for name in records[0].values if all(name in record.values for record in records)]
    shown = {name: [record.values[name] for record in records] for name in common}
    return Row(
        key=key,
        records=records,
        values={name: float(np.mean(seeds)) for name, seeds in shown.items()},
        intervals=_intervals(records, values),
        spread={name: (min(seeds), max(seeds)) for name, seeds in shown.items()},
        rank=None,
        tested=False,
    )


def _intervals(records: Sequence[Record], values: Mapping[str, Values]) -> dict[str, Interval]:
    if len(records) == 1:
        return dict(records[0].intervals)
    known = [shown_values(record, values[record.digest]) for record in records if record.digest in values]
    needed = {"R@1", *evaluated_columns(records[0].spec.evaluation)}
    known = [one for one in known if needed <= set(one)]  # another version may have kept less
    if len(known) < len(records) or len({len(next(iter(one.values()))) for one in known}) > 1:
        ends = {name: [record.intervals[name] for record in records] for name in _common(records)}
        return {
            name: (float(np.mean([e[0] for e in all_])), float(np.mean([e[1] for e in all_])))
            for name, all_ in ends.items()
        }
    evaluation = records[0].spec.evaluation
    return bootstrap_interval(
        {f"{place} {name}": column for place, one in enumerate(known) for name, column in one.items()},
        _over_seeds([summary_for(record) for record in records]),
        seed=seed_of(evaluation.seed, "bootstrap", records[0].spec.dataset),
    )


def _common(records: Sequence[Record]) -> list[str]:
    """What every record has an interval of; a version may know more values than an earlier one."""
    return [name for name in records[0].intervals if all(name in record.intervals for record in records)]


def _over_seeds(summaries: Sequence[Summary]) -> Summary:
    """The mean of the summaries of several seeds, whose values have the place of the seed before their names."""

    def summary(means: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        parts = [
            one({name.partition(" ")[2]: mean for name, mean in means.items() if name.startswith(f"{place} ")})
            for place, one in enumerate(summaries)
        ]
        return {name: np.mean([part[name] for part in parts], axis=0) for name in parts[0]}

    return summary


def _ranking(row: Row, values: Mapping[str, Values]) -> np.ndarray | None:
    """(Q,) values of the score that ranks, mean over the seeds; None where they are not all known."""
    found = [ranking_values(record, values[record.digest]) for record in row.records if record.digest in values]
    known = [one for one in found if one is not None]
    same = len(known) == len(row.records) and len({len(one) for one in known}) == 1
    return np.mean(known, axis=0) if same else None


def _union(lists: Iterable[list[str]]) -> list[str]:
    return list(dict.fromkeys(flag for one in lists for flag in one))
