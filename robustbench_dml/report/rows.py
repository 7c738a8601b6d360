"""Rows of a table: runs that differ only by their seed, merged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from robustbench_dml.report.names import registered_name
from robustbench_dml.report.per_query import shown_values, summary_for
from robustbench_dml.report.ranking import LEAST_SEEDS, Contest, Contestant, Standing
from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.budgets import name_of
from robustbench_dml.spec.protocols import evaluated_columns, median_columns
from robustbench_dml.spec.published import BUDGETS
from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.utils.statistics import Means, Variance, pooled_variance, pseudo_values, shared_covariance

Interval = tuple[float, float]
STANDARD_ERRORS = 1.96  # half a 95% interval in standard errors


@dataclass(frozen=True, kw_only=True)
class Row:
    """A defense with its settings and budget, over its seeds.

    Attributes:
        key: digest of the shared settings; the row's address on the page.
        records: the records of the runs, by rising seed; at least one.
        values: means over the seeds of all shown values, in the units of the papers.
        intervals: 95% intervals of these means, over seeds and queries; see `docs/scores.md`.
        spread: lowest and highest seed of each value.
        standing: part in the ranking.
        budget: the budget in words. Ranks are within one budget; empty for models and for what trains nothing.
        rank: 1 + the number of significantly better rows of the same budget; None unless `standing` is ranked.
        not_above: name of the best baseline, if the row is not significantly above it in the ranking score.
    """

    key: str
    records: tuple[Record, ...]
    values: dict[str, float]
    intervals: dict[str, Interval]
    spread: dict[str, Interval]
    standing: Standing
    budget: str
    rank: int | None = None
    not_above: str | None = None

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
    def digests(self) -> set[str]:
        """The digests of the runs."""
        return {record.digest for record in self.records}

    @property
    def eta(self) -> int | None:
        """PGD steps in training, by the papers' cost of the defense; None if unknown or untrained."""
        cost = self.records[0].cost
        return None if cost is None or not cost.nominal_per_iteration else cost.nominal_per_iteration - 1

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
    """Merge comparable records over their seeds and rank them within their budgets.

    Args:
        records: the records of one data set, backbone and evaluation.
        values: per-query values by digest (`per_query.read_values`), where available. Without them, the variance by
            the choice of queries comes from the intervals of the records.

    Returns:
        The rows, the highest score first and the disqualified last.
    """
    known = values or {}
    groups: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.spec.seed or 0):
        groups.setdefault(record.spec.configuration, []).append(record)
    rows = [_row(key, group) for key, group in groups.items()]
    rows = _with_intervals(rows, known)
    placed = contest_of(rows, known).placed()
    rows = [
        replace(row, rank=rank, not_above=None if best is None else rows[best].label)
        for row, (rank, best) in zip(rows, placed, strict=True)
    ]
    return sorted(rows, key=lambda row: (row.standing is Standing.DISQUALIFIED, -row.values[row.score]))


def contest_of(rows: Sequence[Row], values: Mapping[str, Values]) -> Contest:
    """Return the ranking score of comparable rows, ready for tests; `values` as in `rows_of`."""
    return Contest([_contestant(row, _effects(row, values)) for row in rows])


def _row(key: str, group: Sequence[Record]) -> Row:
    shown = {name: [record.values[name] for record in group] for name in _common([one.values for one in group])}
    return Row(
        key=key,
        records=tuple(group),
        values={name: float(np.mean(seeds)) for name, seeds in shown.items()},
        intervals={},
        spread={name: (min(seeds), max(seeds)) for name, seeds in shown.items()},
        standing=_standing(group),
        budget=_budget(group[0]),
    )


def _standing(group: Sequence[Record]) -> Standing:
    spec = group[0].spec
    if any(record.disqualifying for record in group):
        return Standing.DISQUALIFIED
    if not spec.trained_here:
        return Standing.MODEL
    if spec.label in DEFENSES and DEFENSES.get(spec.label).baseline:
        return Standing.BASELINE
    return Standing.RANKED if len(group) >= LEAST_SEEDS else Standing.PROVISIONAL


def _budget(record: Record) -> str:
    """The budget in words. Iterations cost by eta, so eta is part of a budget of iterations."""
    spec, cost = record.spec, record.cost
    if spec.budget is None or cost is None or not spec.budget.amount:
        return ""
    name = name_of(spec.budget, spec.dataset)
    if spec.budget.kind == "iterations":
        return f"{name}, eta {cost.nominal_per_iteration - 1}"
    return f"{name} passes" if spec.budget.kind == "passes" and name not in BUDGETS else name


def _with_intervals(rows: Sequence[Row], values: Mapping[str, Values]) -> list[Row]:
    """Add the intervals. The variance between seeds is pooled over all rows that are not disqualified."""
    honest = [row for row in rows if row.standing is not Standing.DISQUALIFIED]
    names = {name for row in rows for name in row.values}
    pools = {
        name: pooled_variance([record.values[name] for record in row.records] for row in honest if name in row.values)
        for name in names
    }
    return [replace(row, intervals=_intervals(row, _effects(row, values), pools)) for row in rows]


def _intervals(row: Row, effects: Sequence[Means], pools: Mapping[str, Variance]) -> dict[str, Interval]:
    intervals = {}
    for name in filter(row.values.__contains__, _common([record.intervals for record in row.records])):
        trainings = Variance(pools[name].amount / len(row.records) if _seeded(row) else 0.0, pools[name].freedom)
        half = (trainings + _query_variance(row, name, effects)).half_width()
        intervals[name] = (row.values[name] - half, row.values[name] + half)
    return intervals


def _contestant(row: Row, effects: Sequence[Means]) -> Contestant:
    return Contestant(
        seeds=tuple(record.primary_score for record in row.records),
        seeded=_seeded(row),
        values=np.stack([seed[row.score] for seed in effects]) if effects else None,
        queries=_query_variance(row, row.score, effects).amount,
        standing=row.standing,
        budget=row.budget,
    )


def _seeded(row: Row) -> bool:
    """True if another seed would give another model."""
    spec = row.records[0].spec
    return spec.trained_here and (spec.label not in DEFENSES or DEFENSES.get(spec.label).cls.seeded)


def _query_variance(row: Row, name: str, effects: Sequence[Means]) -> Variance:
    """The variance of a mean by the choice of queries; without values per query at most that of the records."""
    if effects and name in effects[0]:
        table = np.stack([seed[name] for seed in effects])
        return Variance(float(shared_covariance([table])[0, 0]), max(1, table.shape[1] - 1))
    ends = [record.intervals[name] for record in row.records]
    return Variance(float(np.mean([((high - low) / 2 / STANDARD_ERRORS) ** 2 for low, high in ends])), np.inf)


def _effects(row: Row, values: Mapping[str, Values]) -> list[Means]:
    """Per-query values of everything that each record shows; empty if a record lacks any of them."""
    evaluation = row.records[0].spec.evaluation
    medians, needed = median_columns(evaluation), {"R@1", *evaluated_columns(evaluation)}
    known = [shown_values(record, values[record.digest]) for record in row.records if record.digest in values]
    known = [seed for seed in known if needed <= set(seed)]  # other versions may have stored fewer values
    if len(known) < len(row.records) or len({len(seed["R@1"]) for seed in known}) > 1:
        return []
    return [
        pseudo_values(seed, summary_for(record), medians=medians)
        for record, seed in zip(row.records, known, strict=True)
    ]


def _common(mappings: Sequence[Mapping[str, object]]) -> list[str]:
    """Names in all mappings: a newer version may store more values."""
    return [name for name in mappings[0] if all(name in mapping for mapping in mappings)]


def _union(lists: Iterable[list[str]]) -> list[str]:
    return list(dict.fromkeys(flag for flags in lists for flag in flags))
