"""Training in bf16 against fp32: means and standard deviations over seeds, from records.

    python benchmarks/precision.py RECORDS > benchmarks/results/precision.md

RECORDS is a folder of records of one data set, budget and evaluation, which differ in defense, precision and seed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean, stdev

from tabulate import tabulate

from robustbench_dml.runs.record import Record, find_records
from robustbench_dml.spec.budgets import name_of
from robustbench_dml.spec.schema import RunSpec

Runs = dict[tuple[str, str], list[tuple[Record, RunSpec]]]


def grouped(folder: Path) -> Runs:
    """Group records by defense and precision, in the order of their seeds."""
    runs: Runs = {}
    for record in find_records(folder):
        spec = record.spec
        if isinstance(spec, RunSpec):
            runs.setdefault((spec.defense, spec.training.precision), []).append((record, spec))
    return {key: sorted(runs[key], key=lambda run: run[1].seed) for key in sorted(runs)}


def cells(runs: list[tuple[Record, RunSpec]]) -> list[str]:
    """Format R@1 and ERS of each seed, their mean and standard deviation."""
    row = []
    for values in (
        [record.benign["R@1"] for record, _ in runs],
        [float(record.primary_score or 0) for record, _ in runs],
    ):
        spread = f" +- {stdev(values):.1f}" if len(values) > 1 else ""
        row += [", ".join(f"{value:.1f}" for value in values), f"{mean(values):.1f}{spread}"]
    return row


def main() -> None:
    """Print the table."""
    runs = grouped(Path(sys.argv[1]))
    record, spec = next(iter(runs.values()))[0]
    seeds = ", ".join(str(spec.seed) for _, spec in next(iter(runs.values())))
    print(
        "# Training in bf16 and in fp32\n\nMade by `python benchmarks/precision.py RECORDS`.\n\n"
        f"{spec.dataset}, {spec.backbone}, eta {spec.training.threat.steps}, budget "
        f"{name_of(spec.budget, spec.dataset)} ({spec.budget.amount} {spec.budget.kind}), seeds {seeds}; protocol "
        f"{spec.evaluation.protocol}, {spec.evaluation.queries} queries, attack steps in {spec.evaluation.precision}; "
        f"{record.provenance.device}, torch {record.provenance.versions['torch']}, commit "
        f"{(record.provenance.commit or 'unknown')[:7]}{' with changes' if record.provenance.dirty else ''}.\n"
        "After +-: the standard deviation over seeds.\n"
    )
    rows = [[defense, precision, *cells(each)] for (defense, precision), each in runs.items()]
    columns = ["defense", "training in", "R@1 by seed", "R@1", "ERS by seed", "ERS"]
    print(tabulate(rows, columns, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
