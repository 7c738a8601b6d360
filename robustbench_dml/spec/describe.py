"""Evaluations in a few words."""

from __future__ import annotations

from robustbench_dml.spec.parameters import resolve
from robustbench_dml.spec.registry import SOLVERS
from robustbench_dml.spec.schema import Evaluation, Threat


def describe_evaluation(evaluation: Evaluation) -> str:
    """One line with the whole protocol."""
    queries = "all queries" if evaluation.queries is None else f"{evaluation.queries} queries"
    return f"protocol {evaluation.protocol}: {describe_attack(evaluation)}, {queries}"


def describe_attack(evaluation: Evaluation) -> str:
    """Solver, radius, step, and what attacks transfer from."""
    transferred = [] if evaluation.surrogate is None else [f"surrogate {evaluation.surrogate[:8]}"]
    return ", ".join([_searched(evaluation), _radius(evaluation.threat), *transferred])


def _searched(evaluation: Evaluation) -> str:
    """The solver, and what of its parameters is not as usual."""
    search, steps = evaluation.solver, evaluation.threat.steps
    usual = resolve(SOLVERS.get(search.name).cls, {}, owner="") if search.name in SOLVERS else {}
    changed = [f"{name}={value}" for name, value in search.params.items() if usual.get(name) != value]
    return ", ".join([f"{search.name.upper()}-{steps}", *changed])


def _radius(threat: Threat) -> str:
    if threat.norm == "linf":
        return f"eps {threat.eps * 255:g}/255, alpha {threat.alpha * 255:g}/255"
    return f"L2 eps {threat.eps:g}, alpha {threat.alpha:g}"
