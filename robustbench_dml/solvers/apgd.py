"""Auto-PGD: projected gradient descent with momentum, whose step halves when progress stops."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_dml.solvers.base import FORWARD, BestImages, Problem, Restarting, per_image
from robustbench_dml.spec.registry import register_solver
from robustbench_dml.spec.schema import Threat

MOMENTUM = 0.75  # weight of the new step; the previous step has the rest
ENOUGH = 0.75  # share of a window's steps that must improve, or the step is halved


@register_solver(
    "apgd",
    summary="Auto-PGD: momentum, a step that halves by itself, the best iterate kept; needs no alpha",
    paper="Croce and Hein, ICML 2020, arXiv:2003.01690",
)
@dataclass(kw_only=True)
class AutoPGD(Restarting):
    """Take `steps` steps, the first of two radii in length.

    At a checkpoint an image's step is halved if fewer than three quarters of the steps since the last checkpoint
    improved the value, or if neither step nor best value has changed since. The image then continues from its best
    point. Details that the paper leaves open follow its authors' code: a checkpoint comes before the step from its
    iterate, and after a return to the best point momentum and improvement refer to the iterate before the return.
    """

    def attempt_passes(self, threat: Threat) -> float:
        """See `Restarting`."""
        return threat.steps + FORWARD if threat.steps else 0.0

    def run_from(self, problem: Problem, start: Tensor) -> tuple[Tensor, Tensor | None]:
        steps, ball, rows = problem.threat.steps, problem.ball, problem.rows
        if steps == 0:
            return start, None
        images = before = start
        value, gradient = problem.gradient(start, rows)
        best, best_gradient, best_value_then = BestImages(start, value), gradient, value
        length = (2 * problem.radius * torch.ones_like(per_image(value))).flatten()
        improved, halved = torch.zeros_like(value), torch.zeros_like(value, dtype=torch.bool)
        ends, begin = checkpoints(steps), 0
        for step in range(1, steps + 1):
            target = ball.project(images - per_image(length) * ball.direction(gradient))
            if step > 1:
                target = ball.project(images + MOMENTUM * (target - images) + (1 - MOMENTUM) * (images - before))
            before, images, value_before = images, target, value
            if step < steps:
                value, gradient = problem.gradient(images, rows)
            else:
                value = problem.values(images, rows)
            best_gradient = torch.where(per_image(best.update(images, value)), gradient, best_gradient)
            improved += value < value_before
            if step in ends:
                stuck = ~halved & (best.values == best_value_then)
                halved = (improved < ENOUGH * (step - begin)) | stuck
                length = torch.where(halved, length / 2, length)
                images = torch.where(per_image(halved), best.images, images)
                gradient = torch.where(per_image(halved), best_gradient, gradient)
                improved, best_value_then, begin = torch.zeros_like(improved), best.values, step
        return best.images, best.values


def checkpoints(steps: int) -> list[int]:
    """Return the steps of the checkpoints: at 22% of all, then at intervals that shrink to 6%."""
    chosen, last, percent = [0], 0, 22  # whole numbers, because 0.22 + 0.19 > 0.41 in floating point
    while percent <= 100:
        step = -(-percent * steps // 100)
        if step > chosen[-1]:
            chosen.append(step)
        last, percent = percent, percent + max(percent - last - 3, 6)
    return chosen[1:]
