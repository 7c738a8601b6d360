"""What a record says of its cost, held against its own numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from submission_support import at, audited, edit, renamed

from robustbench_dml.runs.record import read_record
from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.spec.schema import Budget


def test_passes_over_the_budget_are_named(copy: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        spent, more = data["cost"]["spent"], 100_000
        spent["to_weights"] += more
        data["cost"]["passes"] += more
        data["cost"]["metered_per_iteration"] += more / (2 * 16 * spent["iterations"])
        spent["iterations"] *= 100
        data["cost"]["metered_per_iteration"] /= 100

    edit(copy, change)
    assert any("passes of a budget of 200" in problem for problem in audited(copy).problems)


@pytest.mark.parametrize(
    ("budgeted", "spent", "problem"),
    [(10, 9.5, None), (10, 50.0, None), (10, 3600.0, "seconds of a budget of 10"), (1000, 9.5, "less than half")],
)
def test_seconds_are_held_against_the_budget_too(copy: Path, budgeted: int, spent: float, problem: str | None) -> None:
    edit(copy, at("cost", "spent", "seconds", value=spent))
    found = audited(renamed(copy, budget=Budget(kind="seconds", amount=budgeted))).problems
    assert [one for one in found if problem and problem in one] == list(found)
    assert len(found) == (problem is not None)


@pytest.mark.parametrize("name", ["pairs", "steps"])
def test_settings_beyond_all_numbers_are_named(copy: Path, name: str) -> None:
    training = read_record(copy).spec.model_dump()["training"]
    (training if name == "pairs" else training["threat"])[name] = 10**400
    assert any("of more than 1e+15" in problem for problem in audited(renamed(copy, training=training)).problems)


def test_a_cost_that_is_too_small_to_be_true_is_named(copy: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        spent = data["cost"]["spent"]
        spent.update(forward_only=0, to_input=0, to_weights=3)
        data["cost"].update(passes=3.0, metered_per_iteration=3 / (2 * 16 * spent["iterations"]))

    edit(copy, change)
    found = audited(copy).problems
    assert any("fewer images to the weights than" in problem for problem in found)
    assert any("less than half of the budget" in problem for problem in found)


@pytest.mark.parametrize(("budgeted", "problem"), [(10**6, "of a budget of 1000000:"), (1, "of a budget of 1:")])
def test_iterations_are_those_of_the_budget(copy: Path, budgeted: int, problem: str) -> None:
    record = read_record(copy)
    assert record.cost is not None
    for amount, found in ((record.cost.spent.iterations, False), (budgeted, True)):
        copy = renamed(copy, budget=Budget(kind="iterations", amount=amount))
        assert any(problem in one for one in audited(copy).problems) is found


def test_what_is_deployed_in_half_precision_may_differ_by_more(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks cannot have raised a flag that the model they looked at did not deserve."""
    edit(copy, at("diagnostics", "measured", "difference at eps 0", value=0.01))
    [problem] = audited(copy).problems
    assert "the flag 'not benign at eps 0' is missing" in problem
    monkeypatch.setattr(DEFENSES.get("regular").cls, "deploy", lambda self, model: model.half())
    assert audited(copy).problems == ()
