"""Records as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tabulate import tabulate

from robustbench_dml.attack import Column
from robustbench_dml.defense import resolve_params
from robustbench_dml.parameters import resolve
from robustbench_dml.protocol import Evaluation, Threat
from robustbench_dml.records import Record
from robustbench_dml.registry import DEFENSES, OPTIMISERS
from robustbench_dml.scores import CHANCE


def record_tables(records: Sequence[Record], columns: Mapping[str, Column], *, marked: str | None = None) -> str:
    """What each run cost and how it retrieves, then how it stands every attack.

    Args:
        records: of one data set, backbone and evaluation.
        columns: of the protocol.
        marked: digest of the run to point out.
    """
    ranked = sorted(records, key=lambda record: -record.ers)
    cost = [_cost_row(record, marked) for record in ranked]
    attacks = [_attack_row(record, columns, marked) for record in ranked]
    evaluation = ranked[0].spec.evaluation
    return "\n\n".join(
        [
            f"{ranked[0].spec.dataset}, {ranked[0].spec.backbone}, {describe_evaluation(evaluation)}",
            _table(cost),
            _table(attacks),
            "cost = forward-backward passes of the batch per iteration: eta+1 as in the papers, and as metered. "
            "+-: half\nthe 95% bootstrap interval over queries. CA, QA: rank percentiles; TMA: cosine; ES:D: distance; "
            "the rest in %." + (" *: this run." if marked else ""),
        ]
    )


def describe_evaluation(evaluation: Evaluation) -> str:
    """One line with the whole protocol."""
    threat = evaluation.threat
    queries = "all queries" if evaluation.queries is None else f"{evaluation.queries} queries"
    return f"protocol {evaluation.protocol}: {_searched(evaluation)}, {_radius(threat)}, {queries}"


def _searched(evaluation: Evaluation) -> str:
    """The optimiser, and what of its parameters is not as usual."""
    search, steps = evaluation.search, evaluation.threat.steps
    usual = resolve(OPTIMISERS.get(search.optimiser).cls, {}, owner="") if search.optimiser in OPTIMISERS else {}
    changed = [f"{name}={value}" for name, value in search.params.items() if usual.get(name) != value]
    return ", ".join([f"{search.optimiser.upper()}-{steps}", *changed])


def _radius(threat: Threat) -> str:
    if threat.norm == "linf":
        return f"eps {threat.eps * 255:g}/255, alpha {threat.alpha * 255:g}/255"
    return f"L2 eps {threat.eps:g}, alpha {threat.alpha:g}"


def entries_table(rows: Iterable[Mapping[str, object]]) -> str:
    """The entries of a registry."""
    return _table(list(rows))


def millions(passes: float) -> str:
    """Passes as a person reads them."""
    return f"{passes / 1e6:.3g}M"


def _cost_row(record: Record, marked: str | None) -> dict[str, object]:
    spec, cost = record.spec, record.cost
    return {
        "defense": _name(record, marked),
        "seed": spec.seed,
        "passes": millions(cost.passes),
        "iterations": cost.spent.iterations,
        "minutes": f"{cost.spent.seconds / 60:.1f}",
        "cost eta+1": cost.nominal_per_iteration,
        "metered": f"{cost.metered_per_iteration:.1f}",
        **{name: f"{value:.1f}" for name, value in record.benign.items() if name != CHANCE},
        **{name: f"{value:.1f} +- {_half(record, name):.1f}" for name, value in record.scores.items()},
        "flags": ", ".join(record.flags),
    }


def _attack_row(record: Record, columns: Mapping[str, Column], marked: str | None) -> dict[str, object]:
    shown = {name: f"{record.attacked[name]:.{1 if columns[name].scale == 100 else 3}f}" for name in columns}
    return {
        "defense": _name(record, marked),
        "seed": record.spec.seed,
        **shown,
        **{score: f"{value:.1f}" for score, value in record.scores.items()},
    }


def _name(record: Record, marked: str | None) -> str:
    """The defense, what of its parameters is not the entry's own, and a star for the run to point out."""
    spec = record.spec
    own = resolve_params(DEFENSES.get(spec.defense), {}) if spec.defense in DEFENSES else spec.params
    changed = ", ".join(f"{name}={value}" for name, value in sorted(spec.params.items()) if own.get(name) != value)
    name = f"{spec.defense} ({changed})" if changed else spec.defense
    return f"{name} *" if record.digest == marked else name


def _half(record: Record, name: str) -> float:
    low, high = record.intervals[name]
    return (high - low) / 2


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    return tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)
