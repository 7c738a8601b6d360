"""The perturbation set: images within a radius of the benign ones and within [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_dml.protocol import Threat


@dataclass(frozen=True)
class Ball:
    """The allowed perturbations of some images.

    Attributes:
        images: (B, ..., C, H, W) benign images in [0, 1]; the last three axes are one image.
        threat: norm and radius.
    """

    images: Tensor
    threat: Threat

    def __post_init__(self) -> None:
        if self.threat.norm == "linf":
            object.__setattr__(self, "_low", (self.images - self.threat.eps).clamp_min(0))
            object.__setattr__(self, "_high", (self.images + self.threat.eps).clamp_max(1))

    def take(self, rows: Tensor) -> Ball:
        """The ball of some of the images."""
        return Ball(self.images[rows], self.threat)

    def project(self, images: Tensor) -> Tensor:
        """Images back into the ball: the nearest ones for L-infinity; for L2 scaled back, then clipped.

        Clipping moves every pixel towards its benign value, so it never leaves the L2 ball.
        """
        if self.threat.norm == "linf":
            return torch.minimum(torch.maximum(images, self._low), self._high)  # type: ignore[attr-defined]
        away = images - self.images
        shrink = (self.threat.eps / norms(away).clamp_min(1e-12)).clamp_max(1)
        return (self.images + away * shrink).clamp_(0, 1)

    def direction(self, gradient: Tensor) -> Tensor:
        """The unit step that raises a value of this gradient most: its sign, or itself at length 1 (0 stays 0)."""
        if self.threat.norm == "linf":
            return gradient.sign()
        return gradient / norms(gradient).clamp_min(1e-12)

    def random(self, uniform: Tensor) -> Tensor:
        """A random place in the ball from uniform numbers in [0, 1), as many as pixels.

        Uniform in the L-infinity ball; for L2 in a random direction, at a distance uniform in [0, radius].
        """
        if self.threat.norm == "linf":
            return self.project(self.images + self.threat.eps * (2 * uniform - 1))
        away = torch.special.ndtri(uniform.clamp(1e-7, 1 - 1e-7))
        reach = uniform.flatten(-3)[..., :1, None, None].square().frac()
        return self.project(self.images + self.threat.eps * reach * self.direction(away))


def norms(images: Tensor) -> Tensor:
    """L2 norms of images: (..., C, H, W) -> (..., 1, 1, 1)."""
    return torch.linalg.vector_norm(images, dim=(-3, -2, -1), keepdim=True)
