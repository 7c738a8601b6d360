from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from board_support import made_spec

from robustbench_dml.datasets.base import DataPaths, Dataset, Split
from robustbench_dml.evaluation.diagnostics import suite
from robustbench_dml.evaluation.evaluate import evaluate_model
from robustbench_dml.models.embedder import Embedder, build_embedder
from robustbench_dml.runs import rates
from robustbench_dml.runs.rates import evaluation_passes
from robustbench_dml.solvers.base import Problem, Solver
from robustbench_dml.spec.published import PROTOCOLS
from robustbench_dml.spec.registry import BACKBONES, DATASETS, SOLVERS, SolverInfo
from robustbench_dml.spec.schema import Threat
from robustbench_dml.training.meter import PropagationMeter

CPU = torch.device("cpu")


def model(seed: int) -> Embedder:
    return build_embedder(BACKBONES.get("c2f2"), seed=seed, device=CPU)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """The first test images: a small gallery."""
    whole = DATASETS.get("glyphs-mini").load(DataPaths())
    rows = torch.arange(100)
    split = Split(whole.test.images[rows], whole.test.labels[rows])
    return Dataset("glyphs-mini", split, split, {})


def metered(dataset: Dataset, evaluation: dict[str, Any]) -> tuple[float, float]:
    """Passes of a real evaluation, and as estimated."""
    attacked, surrogate = model(0), model(1) if "surrogate" in evaluation else None
    spec = made_spec(evaluation=evaluation)
    with PropagationMeter(attacked.backbone) as own, PropagationMeter((surrogate or model(2)).backbone) as other:
        evaluate_model(attacked, dataset, spec.evaluation, device=CPU, batch_size=5, surrogate=surrogate)
    passes = sum(one.to_input + one.to_weights + one.forward_only / 3 for one in (own, other))
    galleries = 1 if surrogate is None else 2
    whole_gallery = galleries * (DATASETS.get("glyphs-mini").test_images - len(dataset.test)) / 3
    return passes + whole_gallery, evaluation_passes(spec)


@pytest.mark.parametrize(
    "evaluation",
    [
        {"queries": 8, "steps": 1},
        {"queries": 12, "steps": 3, "extra_attacks": ["ca+w2", "ranking-margin"]},
        {"queries": 40, "steps": 1},
        {"queries": 5, "steps": 0},
        {"queries": 6, "steps": 2, "solver_params": {"restarts": 3}},
        {"queries": 6, "steps": 4, "solver": "apgd", "solver_params": {"restarts": 2}},
        {"queries": 6, "steps": 1, "solver": "fgsm"},
        {"queries": 4, "steps": 1, "solver": "square", "solver_params": {"queries": 7}},
        {"queries": 4, "steps": 2, "solver": "nes", "solver_params": {"population": 6}},
        {"queries": 5, "steps": 2, "solver": "transfer", "surrogate": "0" * 16},
        {"queries": 4, "steps": 1, "solver": "blend", "solver_params": {"guides": 3}},
    ],
    ids=str,
)
def test_an_evaluation_costs_what_it_was_estimated_to(
    dataset: Dataset, evaluation: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the checks of strength, which bisect."""
    monkeypatch.setattr(suite, "check_strength", lambda *_: [])
    monkeypatch.setattr(rates, "check_passes", lambda *_, **__: 0.0)
    real, estimated = metered(dataset, evaluation)
    assert estimated == pytest.approx(real, rel=1e-9)


def test_checks_cost_no_more_than_estimated(dataset: Dataset) -> None:
    real, estimated = metered(dataset, {"queries": 40, "steps": 3})
    assert 0.5 * estimated < real <= estimated


def test_autorank_costs_no_more_than_estimated(dataset: Dataset) -> None:
    search = {"restarts": 2, "steps": 3, "square_queries": 4, "classes": 2}
    evaluation = {"protocol": "autorank", "queries": 10, "steps": 2, "solver_params": search, "surrogate": "0" * 16}
    real, estimated = metered(dataset, evaluation)
    assert 0.2 * estimated < real <= estimated


def test_radii_cost_no_more_than_estimated(dataset: Dataset) -> None:
    search = {"steps": 4, "square_queries": 6}
    evaluation = {"protocol": "radius", "queries": 6, "steps": 2, "solver_params": search}
    real, estimated = metered(dataset, evaluation)
    assert 0.2 * estimated < real <= estimated


def test_all_queries_are_all_test_images() -> None:
    steps = {"steps": 1}
    every = DATASETS.get("glyphs-mini").test_images
    assert evaluation_passes(made_spec(evaluation=steps)) == evaluation_passes(
        made_spec(evaluation={**steps, "queries": every})
    )


def test_a_solver_of_somebody_else_states_its_cost_or_is_taken_for_one_pass_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @dataclass(kw_only=True)
    class Plain(Solver):
        def run(self, problem: Problem) -> torch.Tensor:
            return problem.images

    class Stated(Plain):
        def passes(self, threat: Threat) -> float:
            return 5.0

    pgd = evaluation_passes(made_spec(evaluation={"queries": 8, "steps": 3}))
    for cls, each in ((Plain, 3), (Stated, 5)):
        with monkeypatch.context() as patch:
            patch.setitem(SOLVERS._entries, "test-own", SolverInfo(name="test-own", summary="", paper="", cls=cls))
            evaluation = {"queries": 8, "steps": 3, "solver": "test-own"}
            attacks = len(PROTOCOLS["ers"].attacks)
            assert evaluation_passes(made_spec(evaluation=evaluation)) == pytest.approx(pgd + 8 * attacks * (each - 3))
