"""MIM: gradient descent with momentum, whose perturbations transfer better than PGD's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_dml.solvers.base import Problem, Restarting, per_image
from robustbench_dml.spec.registry import register_solver
from robustbench_dml.utils.errors import RbdmlError


@register_solver(
    "mim",
    summary="projected gradient descent with momentum and a constant step",
    paper="Dong et al., CVPR 2018, arXiv:1710.06081",
)
@dataclass(kw_only=True)
class MIM(Restarting):
    """Take `steps` steps of length `alpha` along the sign of the momentum (L2: along it). Returns the last iterate.

    The momentum is a decaying sum of gradients, each divided by its mean absolute value.

    Attributes:
        decay: factor of the momentum in each step, in [0, 1]; 0 gives PGD.
    """

    decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.decay <= 1:
            raise RbdmlError(f"decay = {self.decay}: give a number from 0 to 1")

    def run_from(self, problem: Problem, start: Tensor) -> tuple[Tensor, Tensor | None]:
        ball, images = problem.ball, start
        momentum = torch.zeros_like(start)
        for step in range(problem.threat.steps):
            gradient = self.gradient(problem, images, step)
            size = gradient.abs().flatten(1).mean(1).clamp_min(torch.finfo(gradient.dtype).tiny)
            momentum = self.decay * momentum + gradient / per_image(size)
            images = ball.descend(images, momentum)
        return images, None

    def gradient(self, problem: Problem, images: Tensor, step: int) -> Tensor:
        """Return the (B, C, H, W) gradient of a step, counted from 0."""
        return problem.gradient(images, problem.rows)[1]
