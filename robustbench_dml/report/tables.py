"""Tables of records for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from robustbench_dml.report.ranking import Standing
from robustbench_dml.report.rows import Row
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.budgets import short_passes
from robustbench_dml.spec.columns import Column
from robustbench_dml.spec.describe import describe_evaluation
from robustbench_dml.spec.scores import CHANCE
from robustbench_dml.utils.terminal import text_table

LEGEND = """\
rank: 1 + the number of significantly better defenses of the same budget (t test over seeds and queries, 5%, Holm);
provisional: fewer than three seeds. Values are means over the seeds; +-: half the 95% interval over seeds and queries.
cost = forward-backward passes of the batch per iteration: eta+1 as in the papers, and as metered.
CA, QA: rank percentiles; TMA: cosine; ES:D: distance; MR: radius in 1/255; the rest in %."""


def record_tables(rows: Sequence[Row], columns: Mapping[str, Column], *, marked: str | None = None) -> str:
    """Return a table of cost and retrieval and a table of attacks.

    Args:
        rows: comparable rows, at least one.
        columns: the protocol's columns, by name.
        marked: digest of the run to mark.
    """
    records = [record for row in rows for record in row.records]
    first = rows[0].records[0].benign
    chance = f", R@1 by chance {first[CHANCE]:.2g}%" if CHANCE in first else ""  # older records lack it
    return "\n\n".join(
        [
            title(records) + chance,
            text_table(_cost_row(row, marked) for row in rows),
            text_table(_attack_row(row, columns, marked) for row in rows),
            LEGEND + (" *: this run." if marked else ""),
        ]
    )


def title(records: Sequence[Record]) -> str:
    """Return data set, backbone and evaluation of comparable records; external models have no backbone."""
    networks = sorted({record.spec.network for record in records if record.spec.network})
    spec = records[0].spec
    return ", ".join([spec.dataset, *networks, describe_evaluation(spec.evaluation)])


DECIMALS = {"TMA": 3, "ES:D": 3, "MR": 2, "MR:Q": 2, "MR:C": 2, "r50": 2}


def decimals(column: str) -> int:
    """Return the number of decimals of a column: three for cosines and distances, two for radii, one for per cent."""
    return DECIMALS.get(column, 1)


def cell(column: str, value: float, sign: str = "") -> str:
    """Return a value with the decimals of its column; `sign` "+" prints the sign of positive values."""
    return f"{value:{sign}.{decimals(column)}f}"


def score_cell(score: str, value: float, interval: tuple[float, float]) -> str:
    """Return a score with half its interval: 0.44 +- 0.12."""
    return f"{cell(score, value)} +- {cell(score, half_width(interval))}"


def half_width(interval: tuple[float, float]) -> float:
    """Return half the width of an interval, for `value +- half`."""
    low, high = interval
    return (high - low) / 2


def rank_cell(row: Row) -> str:
    """Return the rank of a row, or why it has none."""
    return {Standing.RANKED: str(row.rank), Standing.DISQUALIFIED: "-"}.get(row.standing, str(row.standing))


def doubts(row: Row) -> list[str]:
    """Return the flags of a row, with sizes for a single record, and the baseline that it is not above."""
    flags = row.records[0].sized_flags if len(row.records) == 1 else row.flags
    return [*flags, *([f"not above {row.not_above}"] if row.not_above else [])]


def _first_cells(row: Row, marked: str | None) -> dict[str, object]:
    return {
        "rank": rank_cell(row),
        "defense": row.name + (" *" if marked in row.digests else ""),
        "seeds": ", ".join(map(str, row.seeds)) or "-",
    }


def _cost_row(row: Row, marked: str | None) -> dict[str, object]:
    record = row.records[0]
    scores = {name: score_cell(name, row.values[name], row.intervals[name]) for name in record.scores}
    return {
        **_first_cells(row, marked),
        "budget": row.budget or "-",
        **_cost_cells(row),
        **{name: f"{row.values[name]:.1f}" for name in record.benign if name != CHANCE},
        **scores,
        "flags": ", ".join(doubts(row)),
    }


def _cost_cells(row: Row) -> dict[str, object]:
    costs = [record.cost for record in row.records if record.cost is not None]
    if not costs:  # this project did not train the model
        return dict.fromkeys(("passes", "iterations", "minutes", "cost eta+1", "metered"), "-")
    return {
        "passes": short_passes(row.passes or 0),
        "iterations": round(fmean(cost.spent.iterations for cost in costs)),
        "minutes": f"{fmean(cost.spent.seconds for cost in costs) / 60:.1f}",
        "cost eta+1": costs[0].nominal_per_iteration,
        "metered": f"{row.metered:.1f}",
    }


def _attack_row(row: Row, columns: Mapping[str, Column], marked: str | None) -> dict[str, object]:
    return {
        **_first_cells(row, marked),
        **{name: cell(name, row.values[name]) for name in columns},
        **{score: cell(score, row.values[score]) for score in row.records[0].scores},
    }
