"""A descent with momentum in a ball that shrinks as the image breaks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from robustbench_dml.solvers.ball import Ball
from robustbench_dml.solvers.base import Problem, per_image
from robustbench_dml.solvers.least_radii import LeastRadii

Margin = Callable[[Tensor, Tensor], Tensor]  # (n, D) embeddings of the (n,) rows -> (n,), below 0 where they break

MOMENTUM = 0.75
STEP = 0.5, 0.02  # first and last step of a descent, in radii
SHRINK = 0.2, 0.005  # first and last share by which the ball of a broken image shrinks
BELOW = 1e-3  # least share by which a descent goes below its best radius
SURE = 1e-5  # margin below 0 beyond rounding in float32


def shrink(
    problem: Problem,
    least: LeastRadii,
    rows: Tensor,
    margin: Margin | None,
    start: Tensor,
    *,
    factor: float,
    steps: int,
    stage: int,
) -> None:
    """Descend in a ball that shrinks where an image is broken and grows where it is not.

    After FMN: Pintor et al., NeurIPS 2021, arXiv:2102.12827; with signed steps and momentum, from a known radius.

    Args:
        problem: n images and any objective.
        least: the radii known so far; lower radii are kept here.
        rows: (n,) the images, as rows of `least`.
        margin: below 0 where an embedding breaks an image of the problem; None: the problem's own objective is.
        start: (n, C, H, W) first images, drawn into the ball.
        factor: first radius, in least radii; a larger ball reaches other broken images.
        steps: number of steps; each costs one pass.
        stage: the stage number stored with lower radii.
    """
    seen: list[Tensor] = []

    def objective(embeddings: Tensor, own: Tensor) -> Tensor:
        values = problem.objective(embeddings, own)
        seen[:] = [values.detach() if margin is None else margin(embeddings.detach(), own)]
        return values

    watched = replace(problem, objective=objective)
    best, nearest = problem.images, (factor * least.reach[rows]).clamp_max(least.cap)
    radii = nearest * (1 - SHRINK[0] / 2)
    images, velocity = problem.within(radii, steps=steps).ball.project(start), torch.zeros_like(start)
    for step in range(steps):
        _, gradient = watched.gradient(images, problem.rows)
        broken, distance = seen[0] < -SURE, least.distance(images, rows)
        nearer = broken & (distance < nearest)
        best, nearest = torch.where(per_image(nearer), images, best), torch.where(nearer, distance, nearest)
        rate = _decayed(SHRINK, step / steps)
        grown = (radii * (1 + rate)).minimum(nearest * (1 - BELOW))
        radii = torch.where(broken, torch.minimum(radii, nearest) * (1 - rate), grown)
        velocity = MOMENTUM * velocity + _scaled(gradient)
        images = _moved(problem.within(radii, steps=steps).ball, images, velocity, step / steps)
    least.offer(best, rows, stage)


def _moved(ball: Ball, images: Tensor, velocity: Tensor, share: float) -> Tensor:
    """A step against the velocity, after this share of the descent."""
    return ball.project(images - _decayed(STEP, share) * ball.radius * ball.direction(velocity))


def _decayed(ends: tuple[float, float], share: float) -> float:
    """From the first end to the second along half a cosine."""
    return ends[1] + (ends[0] - ends[1]) * (1 + math.cos(math.pi * share)) / 2


def _scaled(gradient: Tensor) -> Tensor:
    """Gradients of mean length 1 by pixel, so that each step of a momentum weighs the same; 0 stays 0."""
    largest = gradient.abs().amax((1, 2, 3), keepdim=True).clamp_min(torch.finfo(gradient.dtype).tiny)
    scaled = gradient / largest  # means of short gradients would vanish
    return scaled / scaled.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-12)
