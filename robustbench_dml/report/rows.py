"""Rows of a table: runs that differ only by their seed, merged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from robustbench_dml.report.names import registered_name
from robustbench_dml.report.per_query import ranking_values, shown_values, summary_for
from robustbench_dml.report.ranking import Contestant, rank_order
from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.protocols import evaluated_columns, median_columns
from robustbench_dml.utils.randomness import seed_of
from robustbench_dml.utils.statistics import Summary, bootstrap_interval

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A defense with its settings and budget, over its seeds.

    Attributes:
        key: digest of the shared settings; the row's address on the page.
        records: the records of the runs, by rising seed; at least one.
        values: means over the seeds of all shown values, in the units of the papers.
        intervals: 95% bootstrap intervals of these means over the queries; seeds are not resampled.
        spread: lowest and highest seed of each value.
        rank: 1 + the number of significantly better rows; None if a flag disqualifies it.
        tested: whether all ranks of the table come from paired tests.
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
        """The defense with the parameters that differ from the registered values."""
        return registered_name(self.records[0].spec)

    @property
    def label(self) -> str:
        """The defense without parameters."""
        return self.records[0].spec.label

    @property
    def score(self) -> str:
        """The name of the ranking score."""
        return self.records[0].score

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs; empty for external models."""
        return tuple(record.spec.seed for record in self.records if record.spec.seed is not None)

    @property
    def eta(self) -> int | None:
        """PGD steps in training, by the papers' cost of the defense; None if unknown."""
        cost = self.records[0].cost
        return None if cost is None else cost.nominal_per_iteration - 1

    @property
    def passes(self) -> float | None:
        """Metered image passes of a training, mean over the seeds; None for external models."""
        passes = [record.cost.passes for record in self.records if record.cost is not None]
        return float(np.mean(passes)) if passes else None

    @property
    def metered(self) -> float | None:
        """Metered passes of the batch per iteration, mean over the seeds; None for external models."""
        metered = [record.cost.metered_per_iteration for record in self.records if record.cost is not None]
        return float(np.mean(metered)) if metered else None

    @property
    def flags(self) -> list[str]:
        """The flags of all records."""
        return _union(record.flags for record in self.records)

    @property
    def disqualifying(self) -> list[str]:
        """The flags that exclude the row from the ranking."""
        return _union(record.disqualifying for record in self.records)


def rows_of(records: Sequence[Record], values: Mapping[str, Values] | None = None) -> list[Row]:
    """Merge comparable records over their seeds and rank them, the best first and the disqualified last.

    Args:
        records: the records of one data set, backbone and evaluation.
        values: per-query values by digest (`per_query.read_values`), where available. Without them, intervals of
            several seeds are the means of their intervals, and ranks compare intervals.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.spec.configuration, []).append(record)
    return _ranked(groups, values or {})


def runs_of(records: Sequence[Record], values: Mapping[str, Values] | None = None) -> list[Row]:
    """Rank comparable records in a row each, the best first and the disqualified last; arguments as in `rows_of`."""
    return _ranked({record.digest: [record] for record in records}, values or {})


def _ranked(groups: Mapping[str, Sequence[Record]], values: Mapping[str, Values]) -> list[Row]:
    rows = [_row(key, group, values) for key, group in groups.items()]
    order, ranks, tested = rank_order(
        [
            Contestant(
                score=row.values[row.score],
                interval=row.intervals[row.score],
                values=_ranking_values(row, values),
                disqualified=bool(row.disqualifying),
            )
            for row in rows
        ]
    )
    return [replace(rows[i], rank=ranks[i], tested=tested) for i in order]


def _row(key: str, group: Sequence[Record], values: Mapping[str, Values]) -> Row:
    records = tuple(sorted(group, key=lambda record: record.spec.seed or 0))
    shown = {name: [record.values[name] for record in records] for name in _common([one.values for one in records])}
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
    evaluation = records[0].spec.evaluation
    known = [shown_values(record, values[record.digest]) for record in records if record.digest in values]
    needed = {"R@1", *evaluated_columns(evaluation)}
    known = [seed for seed in known if needed <= set(seed)]  # other versions may have kept fewer values
    if len(known) < len(records) or len({len(next(iter(seed.values()))) for seed in known}) > 1:
        ends = {
            name: [record.intervals[name] for record in records] for name in _common([r.intervals for r in records])
        }
        return {
            name: (float(np.mean([low for low, _ in pairs])), float(np.mean([high for _, high in pairs])))
            for name, pairs in ends.items()
        }
    return bootstrap_interval(
        {f"{index} {name}": column for index, seed in enumerate(known) for name, column in seed.items()},
        _mean_summary([summary_for(record) for record in records]),
        seed=seed_of(evaluation.seed, "bootstrap", records[0].spec.dataset),
        medians=[f"{place} {name}" for place in range(len(known)) for name in median_columns(evaluation)],
    )


def _common(mappings: Sequence[Mapping[str, object]]) -> list[str]:
    """Names in all mappings: a newer version may store more values."""
    return [name for name in mappings[0] if all(name in mapping for mapping in mappings)]


def _mean_summary(summaries: Sequence[Summary]) -> Summary:
    """Mean of the summaries of several seeds, whose values are named `index name`."""

    def summary(means: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        parts = [
            seed({name.partition(" ")[2]: mean for name, mean in means.items() if name.startswith(f"{index} ")})
            for index, seed in enumerate(summaries)
        ]
        return {name: np.mean([part[name] for part in parts], axis=0) for name in parts[0]}

    return summary


def _ranking_values(row: Row, values: Mapping[str, Values]) -> np.ndarray | None:
    """(Q,) values of the ranking score, mean over the seeds; None if any is unknown."""
    seeds = [ranking_values(record, values[record.digest]) for record in row.records if record.digest in values]
    known = [seed for seed in seeds if seed is not None]
    complete = len(known) == len(row.records) and len({len(seed) for seed in known}) == 1
    return np.mean(known, axis=0) if complete else None


def _union(lists: Iterable[list[str]]) -> list[str]:
    return list(dict.fromkeys(flag for flags in lists for flag in flags))
