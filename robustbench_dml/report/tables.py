"""Tables of records for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robustbench_dml.report.rows import Row
from robustbench_dml.runs.record import Cost, Record
from robustbench_dml.spec.columns import Column
from robustbench_dml.spec.describe import describe_evaluation
from robustbench_dml.spec.scores import CHANCE
from robustbench_dml.utils.terminal import text_table

LEGEND = """\
cost = forward-backward passes of the batch per iteration: eta+1 as in the papers, and as metered. +-: half the 95%
bootstrap interval over queries. CA, QA: rank percentiles; TMA: cosine; ES:D: distance; the rest in %."""


def record_tables(runs: Sequence[Row], columns: Mapping[str, Column], *, marked: str | None = None) -> str:
    """Return a table of cost and retrieval and a table of attacks.

    Args:
        runs: rows of one run each, see `rows.runs_of`; at least one row.
        columns: the protocol's columns, by name.
        marked: digest of the run to mark.
    """
    records = [run.records[0] for run in runs]
    first = records[0].benign
    chance = f", R@1 by chance {first[CHANCE]:.2g}%" if CHANCE in first else ""  # older records lack it
    return "\n\n".join(
        [
            title(records) + chance,
            text_table(_cost_row(run, marked) for run in runs),
            text_table(_attack_row(run, columns, marked) for run in runs),
            LEGEND + (" *: this run." if marked else "") + _rank_legend(runs),
        ]
    )


def title(records: Sequence[Record]) -> str:
    """Return data set, backbone and evaluation of comparable records; external models have no backbone."""
    networks = sorted({record.spec.network for record in records if record.spec.network})
    spec = records[0].spec
    return ", ".join([spec.dataset, *networks, describe_evaluation(spec.evaluation)])


def short_passes(passes: float) -> str:
    """Return passes in three digits: 94.3k, 20M."""
    return f"{passes / 1e3:.3g}k" if passes < 999_500 else f"{passes / 1e6:.3g}M"


def decimals(column: str) -> int:
    """Return the number of decimals of a column: three for cosines and distances, one for per cent."""
    return 3 if column in ("TMA", "ES:D") else 1


def cell(column: str, value: float, sign: str = "") -> str:
    """Return a value with the decimals of its column; `sign` "+" prints the sign of positive values."""
    return f"{value:{sign}.{decimals(column)}f}"


def half_width(interval: tuple[float, float]) -> float:
    """Return half the width of an interval, for `value +- half`."""
    low, high = interval
    return (high - low) / 2


def _rank_legend(runs: Sequence[Row]) -> str:
    if sum(run.rank is not None for run in runs) < 2:
        return ""
    tested = all(run.tested for run in runs)
    how = "" if tested else "; intervals that do not overlap where values of queries are missing"
    score = runs[0].score
    return f"\nrank: 1 + those significantly better (paired test on {score}, 5%{how}); none where a flag disqualifies."


def _first_cells(run: Row, marked: str | None) -> dict[str, object]:
    record = run.records[0]
    return {
        "rank": "-" if run.rank is None else run.rank,
        "defense": run.name + (" *" if record.digest == marked else ""),
        "seed": "-" if record.spec.seed is None else record.spec.seed,
    }


def _cost_row(run: Row, marked: str | None) -> dict[str, object]:
    record = run.records[0]
    return {
        **_first_cells(run, marked),
        **_cost_cells(record.cost),
        **{name: f"{value:.1f}" for name, value in record.benign.items() if name != CHANCE},
        **{name: f"{value:.1f} +- {half_width(record.intervals[name]):.1f}" for name, value in record.scores.items()},
        "flags": ", ".join(record.flags),
    }


def _cost_cells(cost: Cost | None) -> dict[str, object]:
    if cost is None:  # this project did not train the model
        return dict.fromkeys(("passes", "iterations", "minutes", "cost eta+1", "metered"), "-")
    return {
        "passes": short_passes(cost.passes),
        "iterations": cost.spent.iterations,
        "minutes": f"{cost.spent.seconds / 60:.1f}",
        "cost eta+1": cost.nominal_per_iteration,
        "metered": f"{cost.metered_per_iteration:.1f}",
    }


def _attack_row(run: Row, columns: Mapping[str, Column], marked: str | None) -> dict[str, object]:
    record = run.records[0]
    return {
        **_first_cells(run, marked),
        **{name: cell(name, record.attacked[name]) for name in columns},
        **{score: f"{value:.1f}" for score, value in record.scores.items()},
    }
