"""Budgets of training: reading them, writing them, and their names."""

from __future__ import annotations

import math
import re

from robustbench_dml.spec.published import BUDGETS, FAMILIES
from robustbench_dml.spec.registry import DATASETS, DatasetInfo
from robustbench_dml.spec.schema import Budget, BudgetKind
from robustbench_dml.utils.errors import RbdmlError, did_you_mean

_PASSES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}  # M is a million; a lower-case m could mean minutes
_SECONDS = {"s": 1, "sec": 1, "min": 60, "h": 3600}
_KINDS: dict[BudgetKind, dict[str, int]] = {
    "passes": _PASSES,
    "iterations": dict.fromkeys(("iterations", "iteration", "it"), 1),
    "seconds": _SECONDS,
}
UNITS = {"passes": "passes", "iterations": "it", "seconds": "s"}


def parse_budget(text: str, dataset: DatasetInfo) -> Budget:
    """Read a budget: a name (`quick`), passes (`20M`, `1.5e6`), iterations (`3750it`) or a time (`2h`).

    Raises:
        RbdmlError: none of these, or less than one unit.
    """
    text = text.strip()
    if text in BUDGETS:
        return named_budget(text, dataset)
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?(?:e\+?[0-9]{1,3})?)\s*([A-Za-z]*)", text)
    number, unit = (float(match[1]), match[2]) if match else (0.0, "?")
    kind = next((kind for kind, units in _KINDS.items() if unit in units), None)
    if kind is None or not number * _KINDS[kind][unit] < 1e15:
        names = ", ".join(BUDGETS)
        hint = did_you_mean(text, BUDGETS)
        raise RbdmlError(
            f"budget '{text}' cannot be read: {hint}give a name ({names}), passes (20M), iterations (3750it) or a time "
            "(10min)"
        )
    amount = round(number * _KINDS[kind][unit])
    if amount < 1:
        raise RbdmlError(f"budget '{text}' leaves nothing to spend: give at least one pass, iteration or second")
    return Budget(kind=kind, amount=amount)


def parse_seconds(text: str) -> float:
    """Read a time in seconds: `90s`, `5min`, `2h`.

    Raises:
        RbdmlError: not a time.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)\s*([a-z]+)", text.strip())
    seconds = float(match[1]) * _SECONDS.get(match[2], math.inf) if match else math.inf
    if not seconds < 1e15:
        raise RbdmlError(f"'{text[:40]}' is not a time: give seconds (90s), minutes (5min) or hours (2h)")
    return seconds


def named_budget(name: str, dataset: DatasetInfo) -> Budget:
    """Return a named budget for a data set."""
    unit, share, _ = BUDGETS[name]
    family = FAMILIES[dataset.family]
    images = dataset.train_images * family.epochs
    if unit == "passes":  # as the papers count: eta + 1 for each image
        schedule = images * (family.training.threat.steps + 1)
    else:
        schedule = images // (2 * family.training.pairs)
    return Budget(kind=unit, amount=max(1, round(share * schedule)))


def name_of(budget: Budget, dataset: str) -> str:
    """Write a budget for a user: its name on this data set if it has one, else the amount with its unit."""
    if budget.amount == 0:
        return "none"
    name = budget_name(budget, dataset)
    if name or budget.kind != "passes":
        return name or f"{budget.amount}{UNITS[budget.kind]}"
    unit, size = next((unit, size) for unit, size in reversed(_PASSES.items()) if budget.amount % size == 0)
    return f"{budget.amount // size}{unit}"


def budget_name(budget: Budget, dataset: str) -> str | None:
    """Return the name of a budget on this data set, None if it has none."""
    info = DATASETS.get(dataset)
    return next((name for name in BUDGETS if named_budget(name, info) == budget), None)


def short_passes(passes: float) -> str:
    """Return passes in three digits: 0, 94.3k, 20M."""
    if passes == 0:
        return "0"
    return f"{passes / 1e3:.3g}k" if passes < 999_500 else f"{passes / 1e6:.3g}M"


def short_time(seconds: float) -> str:
    """Return a time in two digits: 40 s, 12 min, 3.5 h."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.{int(seconds < 36000)}f} h"
