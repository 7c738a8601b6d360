from __future__ import annotations

import pytest
import torch
from support import SMALL_IMAGE
from torch import Tensor

from robustbench_dml.models.embedder import Embedder
from robustbench_dml.solvers import group_pgd as perturb
from robustbench_dml.solvers.early_exit import ActiveGroups
from robustbench_dml.solvers.group_pgd import pgd
from robustbench_dml.spec.schema import Threat
from robustbench_dml.training.meter import PropagationMeter

THREAT = Threat(eps=0.2, alpha=0.05, steps=6)


def images(groups: int, *group: int) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.rand(groups, *group, *SMALL_IMAGE, generator=rng, dtype=torch.float64)


def away_from(target: Tensor) -> object:
    return lambda embeddings, rows: -(embeddings - target[rows]).square().sum(-1)


def naive_pgd(model: Embedder, start: Tensor, target: Tensor, threat: Threat) -> Tensor:
    """One image at a time, the projection written out."""
    result = []
    for image, goal in zip(start, target, strict=True):
        r = torch.zeros_like(image)
        for _ in range(threat.steps):
            x = (image + r).requires_grad_()
            value = -(model(x[None])[0] - goal).square().sum()
            (gradient,) = torch.autograd.grad(value, x)
            if threat.norm == "linf":
                r = (r - threat.alpha * gradient.sign()).clamp(-threat.eps, threat.eps)
            else:
                r = r - threat.alpha * gradient / gradient.norm()
                r = r * min(1.0, threat.eps / float(r.norm()))
            r = (image + r).clamp(0, 1) - image
        result.append(image + r)
    return torch.stack(result)


@pytest.mark.parametrize("threat", [THREAT, Threat(norm="l2", eps=0.6, alpha=0.2, steps=6)])
def test_equals_a_loop(linear_model: Embedder, threat: Threat) -> None:
    start, target = images(7), torch.randn(7, 6, generator=torch.Generator().manual_seed(1)).double()
    moved = pgd(linear_model, start, away_from(target), threat=threat)  # type: ignore[arg-type]
    assert torch.allclose(moved, naive_pgd(linear_model, start, target, threat), atol=1e-12, rtol=0)


@pytest.mark.parametrize("threat", [THREAT, Threat(eps=0.2, alpha=0.7, steps=3)])
def test_stays_within_the_radius_and_the_range(linear_model: Embedder, threat: Threat) -> None:
    start = images(9).round(decimals=1)  # some pixels at 0 and 1
    moved = pgd(linear_model, start, away_from(torch.zeros(9, 6).double()), threat=threat)  # type: ignore[arg-type]
    assert float((moved - start).abs().max()) <= threat.eps + 1e-12
    assert 0 <= float(moved.min()) and float(moved.max()) <= 1
    assert not moved.requires_grad


@pytest.mark.parametrize("threat", [Threat(eps=0, alpha=0.1, steps=4), Threat(eps=0.3, alpha=0.1, steps=0)])
def test_nothing_moves_without_radius_or_steps(linear_model: Embedder, threat: Threat) -> None:
    start = images(4)
    moved = pgd(linear_model, start, away_from(torch.zeros(4, 6).double()), threat=threat)  # type: ignore[arg-type]
    assert torch.equal(moved, start)


def test_the_inputs_are_left_alone(linear_model: Embedder) -> None:
    start = images(4)
    kept = start.clone()
    with torch.no_grad():
        pgd(linear_model, start, away_from(torch.zeros(4, 6).double()), threat=THREAT)  # type: ignore[arg-type]
    assert torch.equal(start, kept)
    assert all(parameter.grad is None for parameter in linear_model.parameters())


def test_groups_that_are_not_active_stay(linear_model: Embedder) -> None:
    start, active = images(5, 3), torch.tensor([True, False, True, False, False])
    target = torch.zeros(5, 6).double()
    objective = lambda e, rows: -(e[:, 0] - e[:, 1] + target[rows]).square().sum(-1)  # noqa: E731
    moved = pgd(linear_model, start, objective, threat=THREAT, active=active)
    everything = pgd(linear_model, start, objective, threat=THREAT)
    assert torch.equal(moved[~active], start[~active])
    assert torch.allclose(moved[active], everything[active], atol=1e-12)
    assert torch.equal(moved[:, 2], start[:, 2])  # the objective does not look at it


def test_finished_groups_leave_the_batch_and_the_result_is_the_same(linear_model: Embedder) -> None:
    start = images(12)
    goal = linear_model(start).detach().flip(0)
    room = torch.linspace(0.0, 1.2, 12).double()  # each group is content at another distance from its goal

    def objective(embeddings: Tensor, rows: Tensor) -> Tensor:
        return ((embeddings - goal[rows]).norm(dim=-1) - room[rows]).relu().square()

    with PropagationMeter(linear_model.backbone) as full:
        expected = pgd(linear_model, start, objective, threat=THREAT)
    with PropagationMeter(linear_model.backbone) as short:
        moved = pgd(linear_model, start, objective, threat=THREAT, finished=lambda values: values == 0)
    assert torch.equal(moved, expected)
    assert full.to_input == 12 * THREAT.steps
    assert 0 < short.to_input < full.to_input


def test_finished_groups_stay_though_they_still_have_a_gradient(
    linear_model: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU answers one step late. Finished groups do not move meanwhile."""
    start = images(6)
    monkeypatch.setattr(perturb, "ActiveGroups", lambda groups, _: ActiveGroups(groups, torch.device("cuda")))
    moved = pgd(
        linear_model,
        start,
        lambda e, rows: e.sum(1) + 100 * (rows < 2),
        threat=Threat(eps=0.3, alpha=0.1, steps=3),
        finished=lambda values: values > 50,
    )
    assert torch.equal(moved[:2], start[:2])
    assert not torch.equal(moved[2:], start[2:])
