"""Evaluations in a few words."""

from __future__ import annotations

from robustbench_dml.spec.parameters import resolve
from robustbench_dml.spec.registry import SOLVERS
from robustbench_dml.spec.schema import Evaluation, Threat


def describe_evaluation(evaluation: Evaluation) -> str:
    """Describe an evaluation in one line: protocol, attack, queries."""
    queries = "all queries" if evaluation.queries is None else f"{evaluation.queries} queries"
    return f"protocol {evaluation.protocol}: {describe_attack(evaluation)}, {queries}"


def describe_attack(evaluation: Evaluation) -> str:
    """Describe the attack: solver with its changed parameters, radius, step size, surrogate."""
    surrogate = [] if evaluation.surrogate is None else [f"surrogate {evaluation.surrogate[:8]}"]
    return ", ".join([_solver(evaluation), _radius(evaluation.threat), *surrogate])


def _solver(evaluation: Evaluation) -> str:
    solver, steps = evaluation.solver, evaluation.threat.steps
    usual = resolve(SOLVERS.get(solver.name).cls, {}, owner="") if solver.name in SOLVERS else {}
    changed = [f"{name}={value}" for name, value in solver.params.items() if usual.get(name) != value]
    return ", ".join([f"{solver.name.upper()}-{steps}", *changed])


def _radius(threat: Threat) -> str:
    if threat.norm == "linf":
        return f"eps {threat.eps * 255:g}/255, alpha {threat.alpha * 255:g}/255"
    return f"L2 eps {threat.eps:g}, alpha {threat.alpha:g}"
