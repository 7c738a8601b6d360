"""Both scores on published rows and on records.

    python benchmarks/scores.py RECORDS > benchmarks/results/scores.md

RECORDS is a folder of records of one data set and evaluation, of any version of the schema.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from robustbench_dml.report.published import Reported, read_published
from robustbench_dml.spec.protocols import protocol_columns
from robustbench_dml.spec.scores import CHANCE, empirical_robustness_score, skill_weighted_score

COLUMNS = protocol_columns("ers")
# R@1 by chance where classes are of one size: 100 / test classes. Papers do not print the sizes of classes.
CHANCES = {"cub": 100 / 100, "cars": 100 / 98, "sop": 100 / 11316, "fashion": 100 / 10}
RELATIVE = ("ES:R", "LTM", "GTM")  # recalls, of which what is kept of the benign one can be said

Row = dict[str, Any]


def published() -> list[Row]:
    """Return the published rows that have every column, with both scores."""
    return [_published(one) for one in read_published() if {*COLUMNS, "ERS"} <= one.values.keys()]


def _published(one: Reported) -> Row:
    values = {**one.values, CHANCE: CHANCES[one.dataset]}
    return {
        "data set": one.dataset,
        "defense": one.defense,
        "eta": one.eta,
        "R@1": values["R@1"],
        "kept": 100 * float(np.mean([values[name] for name in RELATIVE])) / values["R@1"],
        "printed": values["ERS"],
        "ERS": float(empirical_robustness_score(values, COLUMNS.values())),
        "sERS": float(skill_weighted_score(values, COLUMNS.values())),
    }


def recorded(folder: Path) -> tuple[list[Row], list[str]]:
    """Return the records below a folder as rows, and their common settings."""
    records = [json.loads(path.read_text()) for path in sorted(folder.rglob("record.json"))]
    return [_recorded(record) for record in records], _common(records)


def _recorded(record: Row) -> Row:
    end = record["training_end"] or {}
    flags = [*record["diagnostics"]["flags"]]
    if end.get("collapsed_at") is not None and "collapsed" not in flags:
        flags.append("collapsed in training")
    return {
        "defense": record["spec"]["defense"],
        "R@1": record["benign"]["R@1"],
        **{name: record["scores"][name] for name in ("ERS", "sERS")},
        "intervals": {name: record["intervals"][name] for name in ("ERS", "sERS")},
        "flags": ", ".join(flags),
    }


def _common(records: Sequence[Row]) -> list[str]:
    """Format the settings of the runs, with all values where they differ."""

    def of(name: str, get: Callable[[Row], object]) -> str:
        return f"- {name}: " + "; ".join(Counter(str(get(record)) for record in records))

    return [
        of("data set and backbone", lambda r: f"{r['spec']['dataset']}, {r['spec']['backbone']}"),
        of("budget", lambda r: f"{r['spec']['budget']['amount']} {r['spec']['budget']['kind']}"),
        of("seed", lambda r: r["spec"]["seed"]),
        of("evaluation", lambda r: json.dumps(r["spec"]["evaluation"])),
        of("R@1 by chance", lambda r: round(r["benign"][CHANCE], 2)),
        of("versions", lambda r: ", ".join(f"{name} {one}" for name, one in r["provenance"]["versions"].items())),
        of("device", lambda r: f"{r['provenance']['device']}, {r['provenance']['threads']} thread(s)"),
        of("commit", lambda r: r["provenance"]["commit"]),
    ]


def place(rows: Sequence[Row], row: Row, score: str) -> int:
    """Return the rank of a row by its score."""
    return 1 + sum(other[score] > row[score] for other in rows)


def _published_table(rows: Sequence[Row]) -> str:
    lines = []
    for dataset in CHANCES:
        group = [row for row in rows if row["data set"] == dataset]
        for row in sorted(group, key=lambda row: -row["sERS"]):
            places = {f"by {score}": place(group, row, score) for score in ("ERS", "sERS")}
            shown = {name: f"{row[name]:.1f}" for name in ("R@1", "kept", "ERS", "sERS")}
            lines.append({name: row[name] for name in ("data set", "defense", "eta")} | shown | places)
    return _table(lines)


def _recorded_table(rows: Sequence[Row]) -> str:
    lines = []
    for row in sorted(rows, key=lambda row: -row["sERS"]):
        scores = {
            name: f"{row[name]:.1f} ({row['intervals'][name][0]:.1f} to {row['intervals'][name][1]:.1f})"
            for name in ("ERS", "sERS")
        }
        places = {f"by {score}": place(rows, row, score) for score in ("ERS", "sERS")}
        lines.append(
            {"defense": row["defense"], "R@1": f"{row['R@1']:.1f}"} | scores | places | {"flags": row["flags"]}
        )
    return _table(lines)


def _table(lines: Sequence[Row]) -> str:
    return tabulate(lines, headers="keys", tablefmt="github", disable_numparse=True)


def main() -> None:
    """Print the page."""
    rows = published()
    ours, common = recorded(Path(sys.argv[1]))
    off = max(abs(row["ERS"] - row["printed"]) for row in rows)
    chances = ", ".join(f"{name} {chance:.3g}" for name, chance in CHANCES.items())
    print(
        "# Both scores, side by side\n\nMade by `python benchmarks/scores.py RECORDS`; what the scores are: "
        "docs/scores.md. *by ERS* and *by sERS* are places in the table, by the score alone.\n\n## Published rows\n\n"
        f"The {len(rows)} rows of leaderboards/published/published.csv that have every column. R@1 by chance, in per "
        f"cent: {chances}. ERS is recomputed from the columns; the largest difference to the printed one is {off:.2f}. "
        f"*kept*: the mean of {', '.join(RELATIVE)} as per cent of R@1.\n\n{_published_table(rows)}\n\n## Records\n\n"
        "`rbdml run --defense NAME --dataset fashion-mini --budget 20k --queries 128`, one run each, with 95% "
        f"intervals over the queries:\n\n{_recorded_table(ours)}\n\n" + "\n".join(common)
    )


if __name__ == "__main__":
    main()
