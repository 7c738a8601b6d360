"""Records as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from robustbench_dml.report.ranking import Ranked, ranked_records
from robustbench_dml.runs.record import Cost, Record
from robustbench_dml.spec.columns import Column
from robustbench_dml.spec.describe import describe_evaluation
from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.spec.resolve import usual_params
from robustbench_dml.spec.scores import CHANCE
from robustbench_dml.utils.terminal import text_table

LEGEND = """\
cost = forward-backward passes of the batch per iteration: eta+1 as in the papers, and as metered. +-: half the 95%
bootstrap interval over queries. CA, QA: rank percentiles; TMA: cosine; ES:D: distance; the rest in %."""


def record_tables(
    records: Sequence[Record],
    columns: Mapping[str, Column],
    *,
    marked: str | None = None,
    values: Mapping[str, np.ndarray | None] | None = None,
) -> str:
    """What each run cost and how it retrieves, then how it stands every attack; the best first, the disqualified last.

    Args:
        records: of one data set, backbone and evaluation.
        columns: of the protocol.
        marked: digest of the run to point out.
        values: for the ranks, (Q,) of the score that ranks by digest (see `ranking.ranked`).
    """
    order = ranked_records(records, values)
    return "\n\n".join(
        [
            f"{title(records)}{_chance(records[0])}",
            text_table([_cost_row(one, marked) for one in order]),
            text_table([_attack_row(one, columns, marked) for one in order]),
            LEGEND + (" *: this run." if marked else "") + _rank_legend(order),
        ]
    )


def title(records: Sequence[Record]) -> str:
    """Data set, backbone and evaluation of comparable records; those that are not ours have no backbone."""
    networks = sorted({record.spec.network for record in records if record.spec.network})
    spec = records[0].spec
    return ", ".join([spec.dataset, *networks, describe_evaluation(spec.evaluation)])


def _chance(record: Record) -> str:
    """What one list for all queries reaches; records of earlier versions do not know it."""
    return f", R@1 by chance {record.benign[CHANCE]:.2g}%" if CHANCE in record.benign else ""


def _rank_legend(order: Sequence[Ranked]) -> str:
    """How ranks came about, where there are any to compare."""
    if sum(one.rank is not None for one in order) < 2:
        return ""
    tested = all(one.tested for one in order)
    how = "" if tested else "; intervals that do not overlap where values of queries are missing"
    score = order[0].record.score
    return f"\nrank: 1 + those significantly better (paired test on {score}, 5%{how}); none where a flag disqualifies."


def short_passes(passes: float) -> str:
    """Passes as a person reads and writes them: 94.3k, 20M."""
    return f"{passes / 1e3:.3g}k" if passes < 999_500 else f"{passes / 1e6:.3g}M"


def decimals(column: str) -> int:
    """How many decimals a value is shown with: cosines and distances have three, per cent and percentiles one."""
    return 3 if column in ("TMA", "ES:D") else 1


def model_name(record: Record) -> str:
    """The defense, and what of its parameters is not the entry's own."""
    spec = record.spec
    own = usual_params(DEFENSES.get(spec.label), spec.dataset) if spec.label in DEFENSES else spec.params
    changed = ", ".join(f"{name}={value}" for name, value in sorted(spec.params.items()) if own.get(name) != value)
    return f"{spec.label} ({changed})" if changed else spec.label


def _first_cells(one: Ranked, marked: str | None) -> dict[str, object]:
    """What begins every row: the rank, the name with a star for the run to point out, and the seed."""
    record = one.record
    return {
        "rank": "-" if one.rank is None else one.rank,
        "defense": model_name(record) + (" *" if record.digest == marked else ""),
        "seed": "-" if record.spec.seed is None else record.spec.seed,
    }


def _cost_row(one: Ranked, marked: str | None) -> dict[str, object]:
    record = one.record
    return {
        **_first_cells(one, marked),
        **_spent(record.cost),
        **{name: f"{value:.1f}" for name, value in record.benign.items() if name != CHANCE},
        **{name: f"{value:.1f} +- {_half(record, name):.1f}" for name, value in record.scores.items()},
        "flags": ", ".join(record.flags),
    }


def _spent(cost: Cost | None) -> dict[str, object]:
    """What training cost; nothing is known of it where it was not ours."""
    if cost is None:
        return dict.fromkeys(("passes", "iterations", "minutes", "cost eta+1", "metered"), "-")
    return {
        "passes": short_passes(cost.passes),
        "iterations": cost.spent.iterations,
        "minutes": f"{cost.spent.seconds / 60:.1f}",
        "cost eta+1": cost.nominal_per_iteration,
        "metered": f"{cost.metered_per_iteration:.1f}",
    }


def _attack_row(one: Ranked, columns: Mapping[str, Column], marked: str | None) -> dict[str, object]:
    record = one.record
    return {
        **_first_cells(one, marked),
        **{name: f"{record.attacked[name]:.{decimals(name)}f}" for name in columns},
        **{score: f"{value:.1f}" for score, value in record.scores.items()},
    }


def _half(record: Record, name: str) -> float:
    low, high = record.intervals[name]
    return (high - low) / 2
