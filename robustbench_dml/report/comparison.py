"""Comparison of two records on the same queries, value by value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robustbench_dml.report.completeness import require_complete
from robustbench_dml.report.grouping import comparable_records
from robustbench_dml.report.names import registered_name
from robustbench_dml.report.per_query import read_values, readable_values, shown_values, summary_for
from robustbench_dml.report.ranking import ALPHA, Difference
from robustbench_dml.report.rows import contest_of, rows_of
from robustbench_dml.report.tables import cell
from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import RECORD_FILE, Record, read_record, record_folders
from robustbench_dml.spec.describe import describe_evaluation
from robustbench_dml.spec.protocols import evaluated_columns, median_columns
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.randomness import seed_of
from robustbench_dml.utils.statistics import holm, paired_differences
from robustbench_dml.utils.terminal import text_table

NOTE = (
    "The table compares two trained models on the same queries, not two defenses: training again with another seed can "
    "move a value by more than these intervals."
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One value of both models, in the units of the papers.

    Attributes:
        column: the value's name.
        first: mean of model A over the queries.
        second: mean of model B.
        difference: first minus second.
        low: lower end of the 95% paired bootstrap interval of the difference.
        high: upper end.
        p: the p value of the two-sided permutation test.
        p_holm: the p value, corrected for all rows (Holm).
        better: the better model if p_holm < 0.05, else None.
    """

    column: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    better: Literal["A", "B"] | None


@dataclass(frozen=True, kw_only=True)
class OverSeeds:
    """The ranking score of the two defenses, over all their seeds beside the two records.

    Attributes:
        first: mean of A's defense.
        second: mean of B's defense.
        seeds: the seeds of both.
        difference: first minus second, half its 95% interval, and the probability that A is above B.
        spread: degrees of freedom of the variance between seeds; 0 if no defense there has two seeds.
    """

    first: float
    second: float
    seeds: tuple[tuple[int, ...], tuple[int, ...]]
    difference: Difference
    spread: float


@dataclass(frozen=True)
class Comparison:
    """Two records and their differences.

    Attributes:
        first: model A.
        second: model B.
        queries: number of shared queries.
        rows: scores, benign values, attacked values.
        over_seeds: the two defenses; None if A and B are of one.
    """

    first: Record
    second: Record
    queries: int
    rows: list[Row]
    over_seeds: OverSeeds | None = None


def compare(first: Path, second: Path) -> Comparison:
    """Compare two records by their per-query values.

    Args:
        first: folder or file of record A.
        second: folder or file of record B.

    Raises:
        RbdmlError: a record or its per-query values are missing or altered, or they are not of the same data,
            evaluation and queries.
    """
    folders = [path.parent if path.name == RECORD_FILE else path for path in (first, second)]
    a, b = (read_record(folder) for folder in folders)
    for record, folder in zip((a, b), folders, strict=True):
        require_complete(record, folder)
    _check_comparable(a, b)
    values_a, values_b, queries = _shared_values(a, b, folders)
    directions = _directions(a)
    a = a.model_copy(update={"scores": {name: value for name, value in a.scores.items() if name in b.scores}})
    differences = paired_differences(
        values_a, values_b, summary_for(a), seed=seed_of(a.spec.evaluation.seed, "comparison", a.spec.dataset)
    )
    corrected = holm({name: difference.p for name, difference in differences.items()})
    rows = [
        Row(
            column=name,
            first=a.values[name],
            second=b.values[name],
            difference=differences[name].value,
            low=differences[name].low,
            high=differences[name].high,
            p=differences[name].p,
            p_holm=corrected[name],
            better=_better(differences[name].value * directions.get(name, 1), corrected[name]),
        )
        for name in sorted(differences, key=lambda name: name not in a.scores)
    ]
    return Comparison(a, b, queries, rows, _over_seeds((a, b), folders))


def comparison_text(comparison: Comparison) -> str:
    """Return the comparison as a table for a terminal."""
    spec, over_seeds = comparison.first.spec, comparison.over_seeds
    models = [
        f"{letter}: {registered_name(record.spec)}, seed {record.spec.seed}, {record.digest}"
        + (f", flagged {', '.join(record.sized_flags)}" if record.flags else "")
        + (": not to be believed" if record.disqualifying else "")
        for letter, record in zip("AB", (comparison.first, comparison.second), strict=True)
    ]
    return "\n\n".join(
        [
            f"{spec.dataset}, {comparison.queries} queries, {describe_evaluation(spec.evaluation)}\n"
            + "\n".join(models),
            text_table(map(_cells, comparison.rows)),
            "A - B with its 95% paired bootstrap interval. p: permutation test over the queries, corrected for all "
            f"{len(comparison.rows)} rows (Holm);\nbetter: where p < {ALPHA}.\n{NOTE}",
            *([] if over_seeds is None else [_over_seeds_text(comparison.first.score, over_seeds)]),
        ]
    )


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as plain data for JSON."""
    models = {
        letter: {
            "digest": record.digest,
            "model": registered_name(record.spec),
            "seed": record.spec.seed,
            "flags": record.flags,
        }
        for letter, record in zip("AB", (comparison.first, comparison.second), strict=True)
    }
    return {
        **models,
        "dataset": comparison.first.spec.dataset,
        "evaluation": comparison.first.spec.evaluation.model_dump(mode="json"),
        "queries": comparison.queries,
        "rows": [vars(row) for row in comparison.rows],
        "note": NOTE,
        "over_seeds": None if comparison.over_seeds is None else _over_seeds_data(comparison.over_seeds),
    }


def _over_seeds(pair: tuple[Record, Record], folders: Sequence[Path]) -> OverSeeds | None:
    """Compare the defenses of two records over all their seeds in the records' parent folders.

    Only a folder with the name of its record has other runs beside it; elsewhere lies what is the user's.
    """
    records: dict[str, Record] = {}
    values: dict[str, Values] = {}
    for record, folder in zip(pair, folders, strict=True):
        own = folder.resolve()
        above = own.parent if own.name == record.digest else own
        beside, _ = comparable_records(record, above)
        paths = {path.name: path for path in record_folders(above)}
        records |= {other.digest: other for other in beside}
        values |= readable_values(beside, paths)
    rows = rows_of(list(records.values()), values)
    places = [next(i for i, row in enumerate(rows) if record.digest in row.digests) for record in pair]
    if places[0] == places[1]:
        return None
    contest, (ours, theirs) = contest_of(rows, values), (rows[place] for place in places)
    return OverSeeds(
        first=ours.values[ours.score],
        second=theirs.values[theirs.score],
        seeds=(ours.seeds, theirs.seeds),
        difference=contest.difference(*places),
        spread=contest.between_seeds.freedom,
    )


def _over_seeds_text(score: str, found: OverSeeds) -> str:
    seeds = [f"{len(numbers)} seed{'' if len(numbers) == 1 else 's'}" for numbers in found.seeds]
    value, half, above = found.difference
    where = "seeds and queries" if found.spread else "queries alone: no defense here has two seeds"
    return (
        f"Over seeds, {score}: A {cell(score, found.first)} ({seeds[0]}), B {cell(score, found.second)} ({seeds[1]}), "
        f"A - B {cell(score, value, '+')} +- {cell(score, half)}.\n"
        f"Probability that A is above B: {above:.3f} (t test over {where})."
    )


def _over_seeds_data(found: OverSeeds) -> dict[str, Any]:
    return {
        "A": {"mean": found.first, "seeds": found.seeds[0]},
        "B": {"mean": found.second, "seeds": found.seeds[1]},
        "difference": found.difference.value,
        "half_interval": found.difference.half,
        "probability_A_above_B": found.difference.above,
        "freedom_between_seeds": found.spread,
    }


def _cells(row: Row) -> Mapping[str, object]:
    name = row.column
    return {
        "column": name,
        "A": cell(name, row.first),
        "B": cell(name, row.second),
        "A - B": cell(name, row.difference, "+"),
        "95% interval": f"{cell(name, row.low, '+')} to {cell(name, row.high, '+')}",
        "p (Holm)": "< 0.001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}",
        "better": row.better or "-",
    }


def _better(gain: float, p: float) -> Literal["A", "B"] | None:
    if p >= ALPHA:
        return None
    return "A" if gain > 0 else "B"


def _directions(record: Record) -> dict[str, int]:
    """1 for attacked columns where more is better, -1 where less is."""
    columns = evaluated_columns(record.spec.evaluation)
    return {name: 1 if column.ers_slope > 0 else -1 for name, column in columns.items() if not column.median}


def _shared_values(a: Record, b: Record, folders: list[Path]) -> tuple[Values, Values, int]:
    """Per-query values that both records have, and the number of queries."""
    values_a, values_b = (read_values(record, folder) for record, folder in zip((a, b), folders, strict=True))
    if not np.array_equal(values_a.get("query", []), values_b.get("query", [])):
        raise RbdmlError(f"{folders[0]} and {folders[1]} are of other queries: evaluate both with one version")
    shown_a, shown_b = shown_values(a, values_a), shown_values(b, values_b)
    medians = median_columns(a.spec.evaluation)  # the paired test is of means
    names = [name for name in shown_a if name in shown_b and name not in medians]
    missing = [name for name in ("R@1", *_directions(a)) if name not in names]
    if missing or "query" not in values_a:
        raise RbdmlError(
            f"{folders[0]} and {folders[1]} have not both per-query values of {[*missing, 'query'][0]}: evaluate both "
            "with one version"
        )
    return {name: shown_a[name] for name in names}, {name: shown_b[name] for name in names}, len(values_a["query"])


def _check_comparable(a: Record, b: Record) -> None:
    if a.spec.dataset != b.spec.dataset:
        raise RbdmlError(
            f"A is of '{a.spec.dataset}' and B of '{b.spec.dataset}': only records of one data set can be compared"
        )
    if a.provenance.dataset_files != b.provenance.dataset_files:
        raise RbdmlError(f"A and B are of other files of '{a.spec.dataset}': run both on the same files")
    settings_a, settings_b = (_flat(record.spec.evaluation.model_dump()) for record in (a, b))
    for name, value in settings_a.items():
        if settings_b.get(name) != value:
            raise RbdmlError(
                f"A was evaluated with {name} = {value} and B with {settings_b.get(name)}: evaluate one of them again, "
                "like the other, with `rbdml evaluate`"
            )


def _flat(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name if inner is None else f"{name}.{inner}": value
        for name, top in data.items()
        for inner, value in (top.items() if isinstance(top, dict) else [(None, top)])
    }
