"""PGD: projected gradient descent with a constant step."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robustbench_dml.solvers.base import Problem, Restarting
from robustbench_dml.spec.registry import register_solver


@register_solver(
    "pgd",
    summary="projected gradient descent with a constant step; without a random start as published",
    paper="Madry et al., ICLR 2018, arXiv:1706.06083",
)
@dataclass(kw_only=True)
class PGD(Restarting):
    """Take `steps` steps of length `alpha` along the gradient's sign (L2: along it). Returns the last iterate."""

    def run_from(self, problem: Problem, start: Tensor) -> tuple[Tensor, Tensor | None]:
        ball, images, rows = problem.ball, start, problem.rows
        for _ in range(problem.threat.steps):
            _, gradient = problem.gradient(images, rows)
            images = ball.descend(images, gradient)
        return images, None
