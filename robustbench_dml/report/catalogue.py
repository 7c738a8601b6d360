"""The registries as rows, for `rbdml list`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from robustbench_dml.report.tables import short_passes
from robustbench_dml.spec.budgets import UNITS, named_budget
from robustbench_dml.spec.parameters import resolve
from robustbench_dml.spec.published import BUDGETS, PROTOCOLS
from robustbench_dml.spec.registry import ATTACKS, BACKBONES, DATASETS, DEFENSES, SOLVERS, Info, Registry
from robustbench_dml.spec.schema import Budget

Row = dict[str, str]
SCHEDULES = "shares of the schedules of arXiv:2203.01439 and arXiv:2106.03614"


def describe(kind: str) -> list[Row]:
    """One row per entry of `defenses`, `attacks`, `datasets`, `backbones`, `budgets`, `solvers` or `protocols`."""
    return _KINDS[kind]()


def _infos(entries: Iterable[Info]) -> list[Row]:
    return [{"name": info.name, "summary": info.summary, "source": info.paper} for info in entries]


def _with_schemes(registry: Registry[Any]) -> list[Row]:
    return _infos([*registry, *registry.schemes])


def _defenses() -> list[Row]:
    rows = _infos(DEFENSES)
    for row, info in zip(rows, DEFENSES, strict=True):
        row["set by default"] = ", ".join(f"{name}={value}" for name, value in info.defaults.items())
    return rows


def _attacks() -> list[Row]:
    rows = _infos(ATTACKS)
    for row, info in zip(rows, ATTACKS, strict=True):
        row["columns"] = ", ".join(column.name for column in info.columns)
    return rows


def _solvers() -> list[Row]:
    rows = _infos(SOLVERS)
    for row, info in zip(rows, SOLVERS, strict=True):
        needs = (("gradients", not info.cls.black_box), ("--surrogate", info.cls.needs_surrogate))
        row["needs"] = ", ".join(what for what, needed in needs if needed)
        row["parameters"] = ", ".join(f"{name}={value}" for name, value in resolve(info.cls, {}, owner="").items())
    return rows


def _protocols() -> list[Row]:
    return [
        {
            "name": name,
            "summary": protocol.summary,
            "solver": protocol.solver.name,
            "needs": "--surrogate" if protocol.surrogate else "",
            "attacks": ", ".join(protocol.attacks),
        }
        for name, protocol in PROTOCOLS.items()
    ]


def _budgets() -> list[Row]:
    return [
        {
            "name": name,
            "summary": summary,
            "source": SCHEDULES,
            **{data.name: _amount(named_budget(name, data)) for data in DATASETS},
        }
        for name, (_, _, summary) in BUDGETS.items()
    ]


def _amount(budget: Budget) -> str:
    return short_passes(budget.amount) if budget.kind == "passes" else f"{budget.amount} {UNITS[budget.kind]}"


_KINDS: dict[str, Callable[[], list[Row]]] = {
    "defenses": _defenses,
    "attacks": _attacks,
    "datasets": lambda: _with_schemes(DATASETS),
    "backbones": lambda: _with_schemes(BACKBONES),
    "budgets": _budgets,
    "solvers": _solvers,
    "protocols": _protocols,
}
