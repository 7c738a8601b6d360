"""The registries as rows, for `rbdml list`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from robustbench_dml.spec.budgets import UNITS, named_budget, short_passes
from robustbench_dml.spec.parameters import resolve
from robustbench_dml.spec.published import BUDGETS, PROTOCOLS
from robustbench_dml.spec.registry import ATTACKS, BACKBONES, DATASETS, DEFENSES, SOLVERS, DefenseInfo, Info
from robustbench_dml.spec.schema import Budget

Row = dict[str, str]
BASELINE, FAKE = "baseline", "fake"  # families of `rbdml list defenses`
SCHEDULES = "shares of the schedules of arXiv:2203.01439 and arXiv:2106.03614"


def describe(kind: str) -> list[Row]:
    """Return the rows of `defenses`, `attacks`, `datasets`, `backbones`, `budgets`, `solvers` or `protocols`."""
    return _KINDS[kind]()


def _entries(infos: Iterable[Info], further: Callable[[Any], Row] = lambda _: {}) -> list[Row]:
    return [{"name": info.name, "summary": info.summary, "source": info.paper, **further(info)} for info in infos]


def _assigned(params: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in params.items())


def _solver_cells(info: Any) -> Row:
    needs = {"gradients": not info.cls.black_box, "--surrogate": info.cls.needs_surrogate}
    return {
        "needs": ", ".join(name for name, needed in needs.items() if needed),
        "parameters": _assigned(resolve(info.cls, {}, owner="")),
    }


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


def _defenses() -> list[Row]:
    """Return defenses by family: baselines first, fakes last."""
    rows = [
        {"name": row["name"], "family": _family(info), **row, "set by default": _assigned(info.defaults)}
        for info, row in zip(DEFENSES, _entries(DEFENSES), strict=True)
    ]
    return sorted(rows, key=lambda row: (row["family"] != BASELINE, row["family"] == FAKE, row["family"]))


def _family(info: DefenseInfo) -> str:
    """Return the name of the file or folder that defines a defense, or what sets it apart from all families."""
    module = info.cls.__module__.removeprefix(f"{DEFENSES.package}.").partition(".")[0]
    return BASELINE if info.baseline else FAKE if info.cls.fake else module.replace("_", " ")


_KINDS: dict[str, Callable[[], list[Row]]] = {
    "defenses": _defenses,
    "attacks": lambda: _entries(ATTACKS, lambda info: {"columns": ", ".join(column.name for column in info.columns)}),
    "datasets": lambda: _entries([*DATASETS, *DATASETS.schemes]),
    "backbones": lambda: _entries([*BACKBONES, *BACKBONES.schemes]),
    "budgets": _budgets,
    "solvers": lambda: _entries(SOLVERS, _solver_cells),
    "protocols": _protocols,
}
