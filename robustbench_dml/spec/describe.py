"""Evaluations in a few words."""

from __future__ import annotations

from robustbench_dml.spec.parameters import resolve
from robustbench_dml.spec.published import PROTOCOLS
from robustbench_dml.spec.registry import SOLVERS
from robustbench_dml.spec.schema import Evaluation, Threat


def describe_evaluation(evaluation: Evaluation) -> str:
    """Describe an evaluation in one line: protocol, attack, queries."""
    queries = "all queries" if evaluation.queries is None else f"{evaluation.queries} queries"
    return f"protocol {evaluation.protocol}: {describe_attack(evaluation)}, {queries}"


def describe_attack(evaluation: Evaluation) -> str:
    """Describe the attack: solver with its changed parameters, radius, step size, surrogate."""
    surrogate = [] if evaluation.surrogate is None else [f"surrogate {evaluation.surrogate[:8]}"]
    changed, threat = _changed(evaluation), evaluation.threat
    if (
        evaluation.solver.name == PROTOCOLS["radius"].solver.name
    ):  # which uses no other number of the threat; columns show the radii
        named = [text for text in changed if not text.startswith("named=")]
        return ", ".join([f"up to {_length(threat)}", *named, *surrogate])
    solver = f"{evaluation.solver.name.upper()}-{threat.steps}"
    return ", ".join([solver, *changed, _radius(threat), *surrogate])


def _changed(evaluation: Evaluation) -> list[str]:
    """The parameters of the solver that differ from its defaults."""
    solver = evaluation.solver
    usual = resolve(SOLVERS.get(solver.name).cls, {}, owner="") if solver.name in SOLVERS else {}
    return [f"{name}={value}" for name, value in solver.params.items() if usual.get(name) != value]


def _length(threat: Threat) -> str:
    return f"{threat.eps * 255:g}/255" if threat.norm == "linf" else f"{threat.eps:g} in L2"


def _radius(threat: Threat) -> str:
    if threat.norm == "linf":
        return f"eps {threat.eps * 255:g}/255, alpha {threat.alpha * 255:g}/255"
    return f"L2 eps {threat.eps:g}, alpha {threat.alpha:g}"
