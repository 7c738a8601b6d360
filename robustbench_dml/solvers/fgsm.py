"""FGSM: one step of the full radius."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robustbench_dml.solvers.base import Problem, Solver
from robustbench_dml.spec.registry import register_solver
from robustbench_dml.spec.schema import Threat

FROM_RANDOM = 1.25  # step length from a random start, in radii, as in arXiv:2001.03994


@register_solver(
    "fgsm",
    summary="one step of the full radius",
    paper="Goodfellow et al., ICLR 2015, arXiv:1412.6572; random start of Wong et al., ICLR 2020, arXiv:2001.03994",
)
@dataclass(kw_only=True)
class FGSM(Solver):
    """Take one step along the sign of the gradient (L2: along the gradient). `alpha` and `steps` are not used.

    Attributes:
        random_start: step 1.25 radii from a random image of the ball; otherwise one radius from the benign image.
    """

    random_start: bool = False

    def passes(self, threat: Threat) -> float:
        """See `Solver`."""
        return 1.0

    def run(self, problem: Problem) -> Tensor:
        ball, start = problem.ball, problem.start(0, random=self.random_start)
        _, gradient = problem.gradient(start, problem.rows)
        length = problem.threat.eps * (FROM_RANDOM if self.random_start else 1)
        return ball.descend(start, gradient, length=length)
