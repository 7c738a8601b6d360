"""DIM: MIM with gradients of images of random size, for transfer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml.solvers.base import Problem
from robustbench_dml.solvers.mim import MIM
from robustbench_dml.spec.registry import register_solver
from robustbench_dml.utils.errors import RbdmlError


@register_solver(
    "dim", summary="mim on images of random size and place", paper="Xie et al., CVPR 2019, arXiv:1803.06978"
)
@dataclass(kw_only=True)
class DIM(MIM):
    """Take the gradient of images that are shrunk at random, on a black ground. MIM otherwise.

    Attributes:
        diversity: share of the steps in which an image is shrunk.
        least: least side of a shrunk image, as a share of its side.
    """

    diversity: float = 0.5
    least: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.diversity <= 1 and 0 < self.least <= 1):
            raise RbdmlError(f"diversity = {self.diversity}, least = {self.least}: give shares, least above 0")

    def gradient(self, problem: Problem, images: Tensor, step: int) -> Tensor:
        if self.diversity == 0:
            return super().gradient(problem, images, step)
        draws = problem.uniform(4, "shrink", step)
        side = torch.where(draws[:, 0] < self.diversity, self.least + (1 - self.least) * draws[:, 1], 1)
        middle = (1 - side)[:, None] * (2 * draws[:, 2:] - 1)
        return super().gradient(replace(problem, model=Shrunk(problem.model, side, middle)), images, step)


class Shrunk(nn.Module):
    """A model of images that are shrunk to (B,) sides with their (B, 2) middles, in [-1, 1], on a black ground."""

    def __init__(self, model: nn.Module, side: Tensor, middle: Tensor) -> None:
        super().__init__()
        self.model = model
        self.maps = torch.cat(
            [torch.diag_embed((1 / side)[:, None].expand(-1, 2)), -(middle / side[:, None])[..., None]], 2
        )

    def forward(self, images: Tensor) -> Tensor:
        grid = F.affine_grid(self.maps, list(images.shape), align_corners=False)
        return self.model(F.grid_sample(images, grid, align_corners=False))
