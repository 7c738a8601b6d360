"""Universal: one perturbation for all images."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from robustbench_dml.solvers.ball import Ball
from robustbench_dml.solvers.base import Problem, Solver
from robustbench_dml.spec.registry import register_solver
from robustbench_dml.utils.errors import RbdmlError

PART = 64  # images of the sample propagated at once
GREY = 0.5  # the image to which the perturbation is added while it is learned
_LEARNED: WeakKeyDictionary[nn.Module, dict[tuple[object, ...], Tensor]] = WeakKeyDictionary()


@register_solver(
    "universal",
    summary="one perturbation for all images, learned on images of the gallery",
    paper="Moosavi-Dezfooli et al., CVPR 2017, arXiv:1610.08401; Li et al., ICCV 2019, arXiv:1812.00552",
)
@dataclass(kw_only=True)
class Universal(Solver):
    """Take `steps` steps of length `alpha` along the mean gradient of a sample (L2) or its sign.

    The perturbation is learned once for a model and an attack. Where it leaves [0, 1] it is clipped.

    Attributes:
        sample: images of the gallery that it is learned on.
    """

    sample: int = 256

    def __post_init__(self) -> None:
        if self.sample < 1:
            raise RbdmlError(f"sample = {self.sample}: learn on at least one image")

    def run(self, problem: Problem) -> Tensor:
        known = _LEARNED.setdefault(problem.model, {})
        name = (problem.key, problem.threat.model_dump_json(), self.sample)
        if name not in known:
            known[name] = self.learn(problem)
        return problem.ball.project(problem.images + known[name])

    def learn(self, problem: Problem) -> Tensor:
        """Return the (1, C, H, W) perturbation of lowest mean value that the steps find, without clipping."""
        sample = problem if problem.sample is None else problem.sample(self.sample)
        grey = Ball(torch.full_like(sample.images[:1], GREY), problem.threat)
        moved = grey.images
        for _ in range(problem.threat.steps):
            away = moved - GREY
            parts = (
                sample.gradient((sample.images[rows] + away).clamp(0, 1), rows)[1] for rows in sample.rows.split(PART)
            )
            gradient = torch.stack([part.sum(0, keepdim=True) for part in parts]).sum(0)
            moved = grey.descend(moved, gradient)
        return moved - GREY
