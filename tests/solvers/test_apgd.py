"""Auto-PGD against a loop written from the paper, and against torchattacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil

import pytest
import torch
import torchattacks
from hypothesis import given
from hypothesis import strategies as st
from solver_support import NORMS, Logits, classes, network, problem
from torch import Tensor

from robustbench_dml.solvers.apgd import AutoPGD, checkpoints
from robustbench_dml.solvers.base import Problem
from robustbench_dml.solvers.pgd import PGD
from robustbench_dml.spec.schema import Norm

# The published checkpoints of 100 steps; the code that torchattacks has copied meets the same ones there.
HUNDRED = [22, 41, 57, 70, 80, 87, 93, 99]


def bumpy(norm: Norm, *, steps: int, count: int = 12, waves: float = 12.0) -> Problem:
    """A problem with many local minima, on which steps of any length overshoot somewhere."""
    plain = problem(norm, steps=steps, count=count, model=network(hidden=8))
    return replace(plain, objective=lambda e, rows: plain.objective(e, rows) + 0.3 * (waves * e).sin().sum(1))


def projected(image: Tensor, benign: Tensor, norm: Norm, eps: float) -> Tensor:
    away = image - benign
    if norm == "linf":
        away = away.clamp(-eps, eps)
    elif float(away.norm()) > eps:
        away = away / away.norm() * eps
    return (benign + away).clamp(0, 1)


def loop(attacked: Problem, row: int, start: Tensor) -> tuple[Tensor, list[int]]:
    """One image: where it ends, and after which steps its step was halved."""
    threat, benign, own = attacked.threat, attacked.images[row], torch.tensor([row])

    def look(x: Tensor) -> tuple[float, Tensor]:
        value, gradient = attacked.gradient(x[None], own)
        direction = gradient[0].sign() if threat.norm == "linf" else gradient[0] / gradient[0].norm()
        return float(value), direction

    share = [0.0, 0.22]
    while share[-1] < 1:
        share.append(share[-1] + max(share[-1] - share[-2] - 0.03, 0.06))
    marks = sorted({ceil(round(p * threat.steps, 6)) for p in share if p <= 1 + 1e-9})

    def project(x: Tensor) -> Tensor:
        return projected(x, benign, threat.norm, threat.eps)

    x, previous, eta = start, start, 2 * threat.eps
    f, g = look(x)
    best, f_best, g_best, f_best_then, changed = x, f, g, f, False
    rises, halvings, last = 0, [], 0
    for k in range(1, threat.steps + 1):
        z = project(x - eta * g)
        following = z if k == 1 else project(x + 0.75 * (z - x) + 0.25 * (x - previous))
        previous, x, before = x, following, f
        f, g = look(x)
        rises += f < before
        if f < f_best:
            best, f_best, g_best = x, f, g
        if k in marks:
            first = rises < 0.75 * (k - last)
            second = not changed and f_best == f_best_then
            changed = first or second
            if changed:
                halvings.append(k)
                eta, x, g = eta / 2, best, g_best
            rises, f_best_then, last = 0, f_best, k
    return best, halvings


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("steps", [1, 7, 20, 60])
def test_equals_a_loop(norm: Norm, steps: int) -> None:
    attacked = bumpy(norm, steps=steps)
    start = attacked.start(1, random=True)
    found, values = AutoPGD().run_from(attacked, start)
    loops = [loop(attacked, row, image) for row, image in enumerate(start)]
    assert torch.allclose(found, torch.stack([end for end, _ in loops]), atol=1e-9)
    assert values is not None and torch.equal(values, attacked.values(found, attacked.rows))
    if steps == 60:  # images halve at different checkpoints, and some not at all
        assert len({tuple(halvings) for _, halvings in loops}) > 3


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("waves", [0.5, 6.0])
def test_is_that_of_torchattacks(norm: Norm, waves: float, float64: None) -> None:
    attacked = bumpy(norm, steps=100, count=24, waves=waves)
    # Theirs halves, too, where exactly three quarters of the steps improved, unless told a little less.
    attack = torchattacks.APGD(
        Logits(attacked), norm={"linf": "Linf", "l2": "L2"}[norm], eps=attacked.threat.eps, steps=100, rho=0.75 - 1e-9
    )
    torch.manual_seed(4)
    start = start_of(attacked)
    torch.manual_seed(4)
    with torch.no_grad():
        _, expected = attack.perturb(attacked.images, classes(attacked), best_loss=True)
        found, _ = AutoPGD().run_from(attacked, start)
    # Theirs counts the first step as an improvement whatever it does: compare those that it does improve.
    ball = attacked.ball
    values, gradient = attacked.gradient(start, attacked.rows)
    first = ball.project(start - 2 * attacked.threat.eps * ball.direction(gradient))
    alike = attacked.values(first, attacked.rows) < values
    assert int(alike.sum()) >= 8
    assert torch.allclose(found[alike], expected[alike], atol=1e-7)


@pytest.fixture
def float64() -> Iterator[None]:
    """Torchattacks keeps values and steps in the default precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def start_of(attacked: Problem) -> Tensor:
    """Where torchattacks starts with the global generator in this state."""
    images, eps = attacked.images, attacked.threat.eps
    if attacked.threat.norm == "linf":
        away = 2 * torch.rand(images.shape) - 1
        away = away / away.flatten(1).abs().amax(1)[:, None, None, None]
    else:
        away = torch.randn(images.shape)
        away = away / away.flatten(1).norm(dim=1)[:, None, None, None]
    return (images + eps * away).clamp(0, 1)


def test_checkpoints_are_the_published_ones() -> None:
    assert checkpoints(100) == HUNDRED
    assert checkpoints(1) == [1]


@given(st.integers(0, 3000))
def test_checkpoints_rise_by_shares_that_shrink(steps: int) -> None:
    found = checkpoints(steps)
    assert found == sorted(set(found)) and all(0 < k <= steps for k in found)
    if steps >= 17:
        assert found == [-(-hundredth * steps // 100) for hundredth in HUNDRED]


def test_keeps_the_best_and_not_the_last_iterate() -> None:
    attacked = bumpy("l2", steps=9, waves=60.0)
    seen: list[Tensor] = []
    watched = replace(attacked, watch=lambda values, _: seen.append(values))
    _, values = AutoPGD().run_from(watched, attacked.images)
    assert values is not None and torch.equal(values, torch.stack(seen).amin(0))
    assert not torch.equal(values, seen[-1])


def test_finds_lower_values_than_a_constant_step() -> None:
    attacked = bumpy("linf", steps=50, waves=6.0)
    ours, plain = (o.run(attacked) for o in (AutoPGD(), PGD()))
    assert float(attacked.values(ours, attacked.rows).mean()) < float(attacked.values(plain, attacked.rows).mean())
