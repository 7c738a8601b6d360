"""Both scores on published rows: python benchmarks/scores.py > benchmarks/results/scores.md"""

from __future__ import annotations

from collections.abc import Sequence
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


def _table(lines: Sequence[Row]) -> str:
    return tabulate(lines, headers="keys", tablefmt="github", disable_numparse=True)


def main() -> None:
    """Print the page."""
    rows = published()
    off = max(abs(row["ERS"] - row["printed"]) for row in rows)
    chances = ", ".join(f"{name} {chance:.3g}" for name, chance in CHANCES.items())
    print(
        "# Both scores, side by side\n\nMade by `python benchmarks/scores.py`; what the scores are: "
        "docs/scores.md. *by ERS* and *by sERS* are places in the table, by the score alone.\n\n## Published rows\n\n"
        f"The {len(rows)} rows of leaderboards/published/published.csv that have every column. R@1 by chance, in per "
        f"cent: {chances}. ERS is recomputed from the columns; the largest difference to the printed one is {off:.2f}. "
        f"*kept*: the mean of {', '.join(RELATIVE)} as per cent of R@1.\n\n{_published_table(rows)}"
    )


if __name__ == "__main__":
    main()
