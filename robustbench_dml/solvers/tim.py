"""TIM and TI-DIM: MIM with smoothed gradients, for transfer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_dml.solvers.base import Problem
from robustbench_dml.solvers.dim import DIM
from robustbench_dml.spec.registry import register_solver
from robustbench_dml.utils.errors import RbdmlError

DEVIATIONS = 3  # standard deviations of the Gaussian from its middle to its edge


@register_solver(
    "tim", summary="mim with gradients of shifted images", paper="Dong et al., CVPR 2019, arXiv:1904.02884"
)
@dataclass(kw_only=True)
class TIM(DIM):
    """Smooth the gradient by a Gaussian, in place of the gradients of shifted images. DIM otherwise.

    Attributes:
        kernel: side of the Gaussian in pixels, an odd number.
    """

    diversity: float = 0.0
    kernel: int = 15

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise RbdmlError(f"kernel = {self.kernel}: give an odd number of pixels")

    def gradient(self, problem: Problem, images: Tensor, step: int) -> Tensor:
        return smoothed(super().gradient(problem, images, step), self.kernel)


@register_solver(
    "ti-dim", summary="tim on images of random size and place", paper="Dong et al., CVPR 2019, arXiv:1904.02884"
)
@dataclass(kw_only=True)
class TIDIM(TIM):
    """TIM with the images of DIM."""

    diversity: float = 0.5


def smoothed(gradient: Tensor, side: int) -> Tensor:
    """Convolve (B, C, H, W) with a Gaussian of this side."""
    place = torch.linspace(-DEVIATIONS, DEVIATIONS, side, dtype=gradient.dtype, device=gradient.device)
    line = (place.square() / -2).exp()
    line = line / line.sum()
    channels = gradient.shape[1]
    across = F.conv2d(gradient, line.expand(channels, 1, 1, side), padding=(0, side // 2), groups=channels)
    return F.conv2d(across, line.view(-1, 1).expand(channels, 1, side, 1), padding=(side // 2, 0), groups=channels)
