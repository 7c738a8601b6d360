"""What is said of a run's settings is what was changed, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_dml.report.deviations import changed_training
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.budgets import name_of, parse_budget
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.parameters import build_defense
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.spec.schema import Budget, RunSpec


@pytest.mark.parametrize("dataset", ["glyphs-mini", "fashion", "cub"])
def test_a_published_run_has_no_deviations(dataset: str) -> None:
    assert changed_training(make_spec(defense="act", dataset=dataset)) == []


@pytest.mark.parametrize(
    ("training", "told"),
    [
        ({"eta": 8}, []),
        ({"eps": 8 / 255}, ["eps=8/255"]),
        ({"alpha": 1.5 / 255}, ["alpha=1.5/255"]),
        ({"lr": 0.01, "pairs": 56}, ["pairs=56", "lr=0.01"]),
        ({"precision": "bf16"}, ["precision=bf16"]),
        ({"batchnorm": "frozen"}, ["batchnorm=frozen"]),
        ({"on_collapse": "stop"}, ["on_collapse=stop"]),
    ],
)
def test_changed_settings_are_listed(training: dict[str, Any], told: list[str]) -> None:
    spec = make_spec(defense="act", dataset="glyphs-mini", training=training)
    assert changed_training(spec) == told


def test_a_loss_is_listed_with_its_parameters() -> None:
    spec = make_spec(defense="regular", dataset="glyphs-mini", training={"loss": "ProxyAnchorLoss"})
    assert changed_training(spec) == ["loss=ProxyAnchorLoss(alpha=32, margin=0.1) lr 0.01"]


@pytest.mark.parametrize(
    ("defense", "eta", "told"),
    [("hm-free", 8, ["eta=8"]), ("hm-free", 32, []), ("hm-s-lga", 8, []), ("regular", 32, [])],
)
def test_eta_is_listed_if_it_differs_from_its_column(defense: str, eta: int, told: list[str]) -> None:
    spec = make_spec(defense=defense, dataset="glyphs-mini", training={"eta": eta})
    cost = build_defense(spec.defense, spec.params, spec.training.threat).nominal_cost
    assert changed_training(spec, column=cost - 1) == told
    assert changed_training(spec) == []


@pytest.mark.parametrize(
    "changes", [{"defense": "theirs"}, {"params": {"x": 1}}, {"params": {"sampler": 7}}, {"params": {"threat": 1}}]
)
def test_of_a_defense_that_is_not_here_eta_is_taken_to_be_in_its_column(changes: dict[str, Any]) -> None:
    """Tables are made of records that nobody has looked at."""
    spec = make_spec(defense="hm-free", dataset="glyphs-mini", training={"eta": 8})
    assert changed_training(spec.model_copy(update=changes), column=8) == []


def test_training_from_scratch_is_listed_if_the_papers_use_imagenet() -> None:
    spec = make_spec(defense="act", dataset="cub", pretrained=False)
    assert changed_training(spec) == ["from scratch"]
    started = RunSpec.model_validate({**dict(spec), "pretrained": "0" * 8})
    assert changed_training(started) == ["batchnorm=train"]


@pytest.mark.parametrize(
    ("budget", "name"),
    [
        ("quick", "quick"),
        ("paper", "paper"),
        ("19800", "quick"),
        ("98k", "98k"),
        ("20M", "20M"),
        ("10min", "600s"),
        ("75it", "schedule"),
        ("12it", "12it"),
    ],
)
def test_a_budget_has_its_name_where_it_has_one(budget: str, name: str, make_record: Callable[..., Record]) -> None:
    spec = make_record("act", budget=budget).spec
    assert isinstance(spec, RunSpec)
    assert name_of(spec.budget, "glyphs-mini") == name


@given(amount=st.integers(1, 10**14), kind=st.sampled_from(["passes", "iterations", "seconds"]))
def test_budgets_are_written_as_on_the_command_line(
    amount: int, kind: Literal["passes", "iterations", "seconds"]
) -> None:
    budget = Budget(kind=kind, amount=amount)
    assert parse_budget(name_of(budget, "fashion"), DATASETS.get("fashion")) == budget
