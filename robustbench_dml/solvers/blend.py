"""Blend: move an image straight towards other images, by values alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustbench_dml.solvers.base import FORWARD, BestImages, Problem, Solver
from robustbench_dml.solvers.guides import MOST
from robustbench_dml.spec.registry import register_solver
from robustbench_dml.spec.schema import Threat
from robustbench_dml.utils.errors import RbdmlError


@register_solver(
    "blend",
    summary="black box: go straight towards the nearest images of another class, as far as the ball reaches",
    paper="of this project; the line to another image is that of Brendel et al., ICLR 2018, arXiv:1712.04248",
)
@dataclass(kw_only=True)
class Blend(Solver):
    """Try x + clamp(t - x, -radius, radius) for the nearest images t; in L2, shorten t - x to the radius.

    Uses neither `alpha` nor `steps`. An attack on a candidate moves towards the first 1% of its query's list.

    Attributes:
        guides: images t that are tried, at most 16.
    """

    black_box: ClassVar[bool] = True

    guides: int = MOST

    def __post_init__(self) -> None:
        if not 1 <= self.guides <= MOST:
            raise RbdmlError(f"guides = {self.guides}: give 1 to {MOST}")

    def passes(self, threat: Threat) -> float:
        """Return the passes of the benign image and one image for each guide, forward alone."""
        return (self.guides + 1) * FORWARD

    def run(self, problem: Problem) -> Tensor:
        if problem.guides is None:
            raise RbdmlError("solver 'blend' has no images to move towards here: choose another solver")
        guides, ball = problem.guides(), problem.ball
        best = BestImages(problem.images, problem.values(problem.images, problem.rows))
        for number in range(min(self.guides, len(guides))):
            trial = ball.project(guides[number])
            best.update(trial, problem.values(trial, problem.rows))
        return best.images
