from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm as normal
from solver_support import NORMS, SHAPE, lengths, network, problem
from torch import Tensor, nn

from robustbench_dml.solvers import nes
from robustbench_dml.solvers.base import Problem
from robustbench_dml.solvers.nes import NES
from robustbench_dml.spec.schema import Norm
from robustbench_dml.utils.errors import RbdmlError


def noise_of(solver: NES, attacked: Problem, row: int, step: int, pair: int) -> Tensor:
    """The noise of one pair of trials, pixel by pixel."""
    channels, height, width = attacked.images.shape[1:]
    small = (channels, min(height, solver.noise_side), min(width, solver.noise_side))
    size = int(np.prod(small))
    uniform = attacked.uniform(size * (pair + 1), "noise", step)[row, -size:]
    drawn = normal.ppf(uniform.numpy()).reshape(small)
    full = torch.zeros(channels, height, width).double()
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                full[c, y, x] = float(drawn[c, y * small[1] // height, x * small[2] // width])
    eps = attacked.threat.eps
    full = solver.sigma * eps * full
    if attacked.threat.norm == "linf":
        return full.clamp(-eps, eps)
    return full * min(1.0, eps / float(full.norm()))


def loop(solver: NES, attacked: Problem, row: int) -> Tensor:
    image, own = attacked.images[row], torch.tensor([row])
    ball = attacked.ball.take(own)
    for step in range(attacked.threat.steps):
        total = torch.zeros_like(image)
        for pair in range(solver.population // 2):
            noise = noise_of(solver, attacked, row, step, pair)
            for sign in (1, -1):
                trial = ball.project((image + sign * noise)[None])
                total += sign * float(attacked.values(trial, own)) * noise
        step_length = attacked.threat.alpha
        direction = total.sign() if attacked.threat.norm == "linf" else total / total.norm()
        image = ball.project((image - step_length * direction)[None])[0]
    return image


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("solver", [NES(population=6), NES(population=8, sigma=0.05, noise_side=3)], ids=repr)
def test_equals_a_loop(norm: Norm, solver: NES) -> None:
    attacked = problem(norm, steps=3, model=network(hidden=6))
    found = solver.run(attacked)
    expected = torch.stack([loop(solver, attacked, row) for row in range(len(attacked))])
    assert torch.allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("at_once", [1, 11, 25, 10000])
def test_the_size_of_a_forward_changes_nothing(norm: Norm, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    attacked = problem(norm, steps=2)
    expected = NES(population=14).run(attacked)
    seen: list[int] = []
    monkeypatch.setattr(nes, "TRIALS_AT_ONCE", at_once)
    found = NES(population=14).run(replace(attacked, watch=lambda values, _: seen.append(len(values))))
    assert torch.allclose(found, expected, atol=1e-12)
    assert max(seen) <= max(at_once, 2 * len(attacked))
    assert sum(seen) == 2 * 14 * len(attacked)


@pytest.mark.parametrize("norm", NORMS)
def test_the_estimate_has_the_direction_of_the_gradient(norm: Norm) -> None:
    attacked = problem(norm, model=network(hidden=6))
    inside = replace(attacked, images=attacked.images * 0.6 + 0.2)
    estimate = NES(population=3000, sigma=0.01).estimate(inside, inside.images, 0).flatten(1)
    _, gradient = inside.gradient(inside.images, inside.rows)
    cosine = torch.cosine_similarity(estimate, gradient.flatten(1))
    pixels = estimate.shape[1]
    # What 1500 random directions give: 1 / sqrt(1 + pixels / 1500), about 0.97.
    assert float(cosine.min()) > (1 + pixels / 1500) ** -0.5 - 0.02


def test_trials_are_images_in_the_ball() -> None:
    asked: list[Tensor] = []
    attacked = problem(steps=2)
    model = network()

    class Recording(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            asked.append(images)
            return model(images)

    NES(population=10).run(replace(attacked, model=Recording()))
    for batch in asked:
        trials = batch.view(10, len(attacked), *SHAPE)
        assert 0 <= float(trials.min()) and float(trials.max()) <= 1
        away = lengths((trials - attacked.images).flatten(0, 1), "linf")
        assert float(away.max()) <= attacked.threat.eps + 1e-12


def test_steps_and_images_have_noise_of_their_own() -> None:
    attacked = problem(steps=2)
    estimates = [NES(population=6).estimate(attacked, attacked.images, step) for step in (0, 1)]
    assert not torch.allclose(estimates[0], estimates[1])
    draws = attacked.uniform(5, "noise", 0)
    assert len(draws.unique()) == draws.numel()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"population": 7}, "population = 7"), ({"population": 0}, "pairs"), ({"sigma": 0.0}, "sigma = 0"),
     ({"noise_side": 0}, "noise_side = 0")],
)  # fmt: skip
def test_settings_without_meaning_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(RbdmlError, match=message):
        NES(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", NORMS)
def test_trials_without_a_value_do_not_spoil_the_image(norm: Norm) -> None:
    class Partly(nn.Module):
        """Embeddings of every third image of a batch are not numbers."""

        def __init__(self) -> None:
            super().__init__()
            self.model = network()

        def forward(self, images: Tensor) -> Tensor:
            found: Tensor = self.model(images)
            found[::3] = torch.nan
            return found

    attacked = problem(norm, model=Partly())
    moved = NES(population=8).run(attacked)
    assert moved.isfinite().all()
    assert not torch.equal(moved, attacked.images)
