from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from attack_support import EVERY, small_model, small_split
from solver_support import NORMS, RADIUS, network, problem

import robustbench_dml as rb
from robustbench_dml.evaluation.context import make_context
from robustbench_dml.solvers.base import Problem
from robustbench_dml.solvers.universal import Universal
from robustbench_dml.spec.make import changed_evaluation, published_evaluation
from robustbench_dml.spec.schema import Norm
from robustbench_dml.training.meter import PropagationMeter


def posed(norm: Norm = "linf") -> Problem:
    whole = problem(norm, steps=5, count=9, model=network(hidden=8))
    return replace(whole, sample=lambda count: whole.take(torch.arange(count)))


@pytest.mark.parametrize("norm", NORMS)
def test_it_is_one_perturbation_within_the_radius(norm: Norm) -> None:
    whole = posed(norm)
    moved = Universal(sample=7).run(whole)
    [first, *others] = Universal(sample=7).learn(whole).expand(9, -1, -1, -1)
    assert all(torch.equal(first, other) for other in others)
    assert torch.equal(moved, whole.ball.project(whole.images + first))
    length = first.abs().max() if norm == "linf" else first.norm()
    assert 0 < float(length) <= RADIUS[norm] + 1e-9


def test_its_first_step_follows_the_mean_gradient_of_the_sample() -> None:
    whole = posed()
    one = replace(whole, threat=whole.threat.model_copy(update={"steps": 1}))
    gradients = [whole.gradient(whole.images[row : row + 1], torch.tensor([row]))[1] for row in range(7)]
    expected = -whole.threat.alpha * torch.cat(gradients).mean(0).sign()
    assert torch.allclose(Universal(sample=7).learn(one)[0], expected, atol=1e-12)


def test_it_is_learned_once_for_all_batches() -> None:
    whole = posed()
    with PropagationMeter(whole.model) as meter:
        moved = Universal(sample=7).run(whole)
        part = Universal(sample=7).run(whole.take(torch.tensor([8, 0])))
    assert meter.to_input == 7 * 5
    assert torch.equal(part, moved[[8, 0]])


def test_it_lowers_the_mean_value() -> None:
    whole = posed()
    moved = Universal(sample=9).run(whole)
    assert whole.values(moved, whole.rows).mean() < whole.values(whole.images, whole.rows).mean() - 0.01


def test_its_sample_is_the_same_in_every_batch() -> None:
    split, evaluation = small_split(), published_evaluation("glyphs-mini")
    context = make_context(
        small_model(0), split, evaluation=evaluation, dataset="small", device=torch.device("cpu")
    ).changed(threat=changed_evaluation(evaluation, {"steps": 3}).threat)
    assert context.sample(5).rows.tolist() == context.sample(48).rows.tolist()[:5]
    assert sorted(context.sample(99).rows.tolist()) == EVERY.tolist()


def test_it_has_a_sample() -> None:
    with pytest.raises(rb.RbdmlError, match="sample = 0"):
        Universal(sample=0)
