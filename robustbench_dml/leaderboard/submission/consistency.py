"""What records say of each other: nothing is entered twice, no seed is picked, one board has one set of data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from robustbench_dml.leaderboard.entries import Listed
from robustbench_dml.report.rows import configuration
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.schema import RunSpec


@dataclass(frozen=True)
class One:
    """A record on a board, as itself or as a re-run."""

    record: Record
    rerun: bool

    @property
    def name(self) -> str:
        """For a message."""
        seed = "" if self.record.spec.seed is None else f", seed {self.record.spec.seed}"
        return f"{self.record.digest} ({self.record.spec.label}{seed})"


def together(listed: Sequence[Listed]) -> list[str]:
    """Problems of entries beside each other, each with its cause.

    Args:
        listed: all entries, of all data sets.
    """
    every = [One(record, rerun=place > 0) for one in listed for place, record in enumerate((one.record, *one.reruns))]
    return [*_duplicates(every), *missing_seeds([one.record for one in listed]), *_other_data(every)]


def missing_seeds(records: Sequence[Record]) -> list[str]:
    """Runs that differ by their seed alone have seeds 0 to n - 1, so that nobody can pick the best."""
    runs: dict[str, list[Record]] = {}
    for record in records:
        if isinstance(record.spec, RunSpec):
            runs.setdefault(configuration(record.spec), []).append(record)
    problems = []
    for group in runs.values():
        seeds = {record.spec.seed for record in group if record.spec.seed is not None}
        missing = sorted(set(range(len(seeds))) - seeds)
        if missing:
            problems.append(
                f"{group[0].spec.label} on {group[0].spec.dataset} has seeds {_list(sorted(seeds))} and not "
                f"{_list(missing)}: seeds are 0, 1, 2 and so on, all of them, so that nobody picks the best; run those "
                "that are missing"
            )
    return problems


def _duplicates(every: Sequence[One]) -> Iterator[str]:
    """One model under one evaluation stands on a board once, whatever name it is given."""
    by_weights: dict[tuple[str, str, str], One] = {}
    by_queries: dict[str, One] = {}
    for one in every:
        spec, found = one.record.spec, one.record.provenance
        first = by_weights.setdefault((spec.dataset, found.weights, spec.evaluation.model_dump_json()), one)
        if first is not one:
            yield f"{one.name} has the same weights under the same evaluation as {first.name}: one of them is a copy"
            continue
        first = by_queries.setdefault(found.queries, one)
        if first is not one:
            yield f"{one.name} has the per-query values of {first.name}: one of them is a copy"


def _other_data(every: Sequence[One]) -> Iterator[str]:
    files: dict[str, One] = {}
    for one in every:
        first = files.setdefault(one.record.spec.dataset, one)
        if first.record.provenance.dataset_files != one.record.provenance.dataset_files:
            yield (
                f"{one.name} was made from other files of '{one.record.spec.dataset}' than {first.name}: one board has "
                "one set of data"
            )


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
