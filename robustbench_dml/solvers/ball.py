"""The perturbation set: images within a radius of the benign ones and within [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustbench_dml.spec.schema import Threat
from robustbench_dml.utils.randomness import normal_of


@dataclass(frozen=True)
class Ball:
    """The allowed perturbations of some images.

    Attributes:
        images: (B, ..., C, H, W) benign images in [0, 1]; the last three axes are one image.
        threat: norm, radius and length of a step.
    """

    images: Tensor
    threat: Threat
    _box: tuple[Tensor, Tensor] | None = field(init=False, default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.threat.norm == "linf":
            box = ((self.images - self.threat.eps).clamp_min_(0), (self.images + self.threat.eps).clamp_max_(1))
            object.__setattr__(self, "_box", box)

    def take(self, rows: Tensor) -> Ball:
        """The ball of some of the images."""
        return Ball(self.images[rows], self.threat)

    def project(self, images: Tensor) -> Tensor:
        """Images back into the ball: the nearest ones for L-infinity; for L2 scaled back, then clipped.

        Clipping moves every pixel towards its benign value, so it never leaves the L2 ball.
        """
        if self._box is not None:
            return images.clamp(*self._box)
        away = images - self.images
        shrink = (self.threat.eps / norms(away).clamp_min(1e-12)).clamp_max(1)
        return (self.images + away * shrink).clamp_(0, 1)

    def descend(self, images: Tensor, gradient: Tensor, *, length: float | None = None) -> Tensor:
        """A step against a gradient, of the threat's length unless another is given, and back into the ball."""
        step = self.threat.alpha if length is None else length
        return self.project(torch.add(images, self.direction(gradient), alpha=-step))

    def direction(self, gradient: Tensor) -> Tensor:
        """The unit step that raises a value of this gradient most: its sign, or itself at length 1 (0 stays 0).

        However short the gradient is: a network that makes its gradients vanish gains nothing by it.
        """
        if self.threat.norm == "linf":
            return gradient.sign()
        largest = gradient.abs().amax((-3, -2, -1), keepdim=True)  # squares of short gradients would vanish
        scaled = gradient / largest.clamp_min(torch.finfo(gradient.dtype).tiny)
        return scaled / norms(scaled).clamp_min(1e-12)

    def random(self, uniform: Tensor) -> Tensor:
        """A random place in the ball, clipped to [0, 1].

        Uniform in the L-infinity ball; for L2 in a random direction, at a distance uniform in [0, radius].

        Args:
            uniform: (B, ..., C * H * W + 1) numbers in [0, 1): one for each pixel, and the last for the distance.
        """
        each = uniform[..., :-1].unflatten(-1, self.images.shape[-3:])
        if self.threat.norm == "linf":
            return self.project(self.images + self.threat.eps * (2 * each - 1))
        reach = self.threat.eps * uniform[..., -1, None, None, None]
        return self.project(self.images + reach * self.direction(normal_of(each)))


def norms(images: Tensor) -> Tensor:
    """L2 norms of images: (..., C, H, W) -> (..., 1, 1, 1)."""
    return torch.linalg.vector_norm(images, dim=(-3, -2, -1), keepdim=True)
