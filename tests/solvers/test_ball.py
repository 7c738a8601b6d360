from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import Tensor

from robustbench_dml.solvers.ball import Ball, norms
from robustbench_dml.spec.schema import Norm, Threat

SHAPE = (2, 3, 5)


def threat(norm: Norm, eps: float) -> Threat:
    return Threat(norm=norm, eps=eps, alpha=0.1, steps=1)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.sampled_from(["linf", "l2"]), st.floats(0, 1), st.integers(0, 1000))
def test_projected_images_are_in_the_ball_and_those_in_it_stay(norm: Norm, eps: float, seed: int) -> None:
    benign, wild = drawn(seed, 4, *SHAPE).round(decimals=1), 4 * drawn(seed + 1, 4, *SHAPE) - 2
    ball = Ball(benign, threat(norm, eps))
    inside = ball.project(wild)
    away = inside - benign
    length = away.abs().amax((1, 2, 3)) if norm == "linf" else away.flatten(1).norm(dim=1)
    assert bool((length <= eps + 1e-9).all())
    assert 0 <= float(inside.min()) and float(inside.max()) <= 1
    assert torch.allclose(ball.project(inside), inside, atol=1e-12)


def test_projection_for_linf_is_the_nearest_point() -> None:
    benign, wild = drawn(0, 3, *SHAPE), 4 * drawn(1, 3, *SHAPE) - 2
    found = Ball(benign, threat("linf", 0.3)).project(wild)
    for own, pixel, result in zip(benign.flatten(), wild.flatten(), found.flatten(), strict=True):
        assert float(result) == min(max(float(pixel), float(own) - 0.3, 0.0), float(own) + 0.3, 1.0)


def test_projection_for_l2_scales_back_and_then_clips() -> None:
    benign = torch.full((1, 1, 1, 2), 0.9, dtype=torch.float64)
    found = Ball(benign, threat("l2", 0.5)).project(benign + torch.tensor([3.0, -4.0]).double())
    assert torch.allclose(found.flatten(), torch.tensor([1.0, 0.5]).double())


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e200])
def test_a_direction_has_its_length_however_short_the_gradient(scale: float) -> None:
    gradient = (drawn(0, 3, *SHAPE) - 0.5) * scale
    gradient[1] = 0
    unit = Ball(drawn(1, 3, *SHAPE), threat("l2", 0.3)).direction(gradient)
    assert torch.allclose(norms(unit).flatten(), torch.tensor([1.0, 0.0, 1.0]).double())
    expected = (drawn(0, 3, *SHAPE) - 0.5)[0]
    assert torch.allclose(unit[0], expected / expected.norm())
    signs = Ball(drawn(1, 3, *SHAPE), threat("linf", 0.3)).direction(gradient)
    assert torch.equal(signs, gradient.sign())


def test_directions_of_short_float32_gradients_are_no_shorter() -> None:
    gradient = (drawn(0, 3, *SHAPE) - 0.5).float()
    ball = Ball(drawn(1, 3, *SHAPE).float(), threat("l2", 0.3))
    assert torch.allclose(ball.direction(gradient * 1e-30), ball.direction(gradient), atol=1e-5)


def test_random_images_of_linf_are_uniform() -> None:
    benign = torch.full((500, *SHAPE), 0.5).double()
    ball = Ball(benign, threat("linf", 0.2))
    places = ball.random(drawn(2, 500, benign[0].numel() + 1)) - 0.5
    assert kstest(((places / 0.2 + 1) / 2).flatten().numpy(), "uniform").pvalue > 1e-3


def test_random_images_of_l2_are_uniform_in_direction_and_distance_independently() -> None:
    benign = torch.full((4000, *SHAPE), 0.5).double()
    uniform = drawn(3, 4000, benign[0].numel() + 1)
    away = Ball(benign, threat("l2", 0.4)).random(uniform) - benign
    distance = norms(away).flatten()
    assert torch.allclose(distance, 0.4 * uniform[:, -1])
    unit = away.flatten(1) / distance[:, None]
    # A coordinate of a uniform direction in n dimensions: its square is Beta(1/2, (n - 1)/2) distributed.
    n = unit.shape[1]
    for coordinate in unit.unbind(1):
        assert kstest(coordinate.square().numpy(), "beta", args=(0.5, (n - 1) / 2)).pvalue > 1e-4
        assert abs(float(torch.corrcoef(torch.stack([coordinate, distance]))[0, 1])) < 0.06
        assert abs(float(torch.corrcoef(torch.stack([coordinate.abs(), distance]))[0, 1])) < 0.06
    assert float(unit.mean(0).abs().max()) < 0.02


def test_random_images_have_no_infinities_from_the_ends_of_the_interval() -> None:
    benign = torch.full((1, *SHAPE), 0.5)
    uniform = torch.zeros(1, benign[0].numel() + 1)
    uniform[:, -1] = 0.5
    place = Ball(benign, threat("l2", 0.4)).random(uniform)
    assert torch.allclose(norms(place - benign), torch.tensor(0.2))


def test_groups_of_images_are_each_their_own() -> None:
    benign, wild = drawn(0, 3, 2, *SHAPE), 4 * drawn(1, 3, 2, *SHAPE) - 2
    uniform = drawn(2, 3, 2, benign[0, 0].numel() + 1)
    ball, flat = Ball(benign, threat("l2", 0.3)), Ball(benign.flatten(0, 1), threat("l2", 0.3))
    assert torch.equal(ball.project(wild).flatten(0, 1), flat.project(wild.flatten(0, 1)))
    assert torch.equal(ball.random(uniform).flatten(0, 1), flat.random(uniform.flatten(0, 1)))
    assert torch.equal(ball.take(torch.tensor([2, 0])).project(wild[[2, 0]]), ball.project(wild)[[2, 0]])
