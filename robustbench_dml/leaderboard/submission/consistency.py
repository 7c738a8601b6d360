"""Checks of records against each other: no copies, no picked seeds, one version of the data for each board."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from robustbench_dml.leaderboard.entries import Listed, described
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.schema import ExternalSpec, RunSpec


def consistency_problems(listed: Sequence[Listed]) -> list[str]:
    """Return the problems between entries, each with its cause."""
    records = [record for one in listed for record in (one.record, *one.reruns)]
    return [*_duplicates(records), *missing_seeds([one.record for one in listed]), *_other_data(records)]


def missing_seeds(records: Sequence[Record]) -> list[str]:
    """Require seeds 0 to n - 1 of every configuration, so that nobody can pick the best."""
    seeds_of: dict[str, set[int]] = {}
    specs: dict[str, RunSpec | ExternalSpec] = {}
    for record in records:
        if record.spec.seed is not None:
            key = record.spec.configuration
            seeds_of.setdefault(key, set()).add(record.spec.seed)
            specs.setdefault(key, record.spec)
    problems = []
    for key, seeds in seeds_of.items():
        missing = set(range(len(seeds))) - seeds
        if missing:
            problems.append(
                f"{specs[key].label} on {specs[key].dataset} has seeds {_listed(seeds)} and not {_listed(missing)}: "
                "seeds are 0, 1, 2 and so on, all of them, so that nobody picks the best; run those that are missing"
            )
    return problems


def _duplicates(records: Sequence[Record]) -> Iterator[str]:
    """Find models that are entered twice under one evaluation, whatever their names."""
    by_weights: dict[tuple[str, str, str], Record] = {}
    by_queries: dict[str, Record] = {}
    for record in records:
        name, made = described(record), record.provenance
        key = (record.spec.dataset, made.weights, record.spec.evaluation.model_dump_json())
        trained = record.spec.budget is None or record.spec.budget.amount > 0  # baselines share their initial weights
        if trained and key in by_weights:
            first = described(by_weights[key])
            yield f"{name} has the same weights under the same evaluation as {first}: one of them is a copy"
            continue
        if trained:
            by_weights[key] = record
        if made.queries in by_queries:
            yield f"{name} has the per-query values of {described(by_queries[made.queries])}: one of them is a copy"
        by_queries.setdefault(made.queries, record)


def _other_data(records: Sequence[Record]) -> Iterator[str]:
    """Find records whose data files differ from those of the first record."""
    firsts: dict[str, Record] = {}
    for record in records:
        first = firsts.setdefault(record.spec.dataset, record)
        if first.provenance.dataset_files != record.provenance.dataset_files:
            yield (
                f"{described(record)} was made from other files of '{record.spec.dataset}' than {described(first)}: "
                "one board has one set of data"
            )


def _listed(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
