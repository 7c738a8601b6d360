"""The perturbation set: images within a radius of the benign images and within [0, 1]."""

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
        threat: norm, radius and step length.
        radii: (B,) a radius for each image instead of the threat's; images are then (B, C, H, W).
    """

    images: Tensor
    threat: Threat
    radii: Tensor | None = None
    _box: tuple[Tensor, Tensor] | None = field(init=False, default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.threat.norm == "linf":
            box = ((self.images - self.radius).clamp_min_(0), (self.images + self.radius).clamp_max_(1))
            object.__setattr__(self, "_box", box)

    @property
    def radius(self) -> float | Tensor:
        """The radius of all images, or (B, 1, 1, 1) one for each."""
        return self.threat.eps if self.radii is None else self.radii[:, None, None, None]

    def take(self, rows: Tensor) -> Ball:
        """The ball of the images in these rows."""
        return Ball(self.images[rows], self.threat, None if self.radii is None else self.radii[rows])

    def project(self, images: Tensor) -> Tensor:
        """Project images onto the ball: to the nearest image for L-infinity; for L2 by scaling, then clipping.

        Clipping moves every pixel towards its benign value, so it never leaves the L2 ball.
        """
        if self._box is not None:
            return images.clamp(*self._box)
        away = images - self.images
        shrink = (self.radius / norms(away).clamp_min(1e-12)).clamp_max(1)
        return (self.images + away * shrink).clamp_(0, 1)

    def descend(self, images: Tensor, gradient: Tensor, *, length: float | None = None) -> Tensor:
        """Step against a gradient, by default of the threat's length, and project onto the ball."""
        step = self.threat.alpha if length is None else length
        return self.project(torch.add(images, self.direction(gradient), alpha=-step))

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the steepest unit step: the gradient's sign for L-infinity, the gradient at length 1 for L2.

        The gradient may be arbitrarily short, so that vanishing gradients do not protect a network. Zero stays zero.
        """
        if self.threat.norm == "linf":
            return gradient.sign()
        largest = gradient.abs().amax((-3, -2, -1), keepdim=True)  # the squares of short gradients underflow
        scaled = gradient / largest.clamp_min(torch.finfo(gradient.dtype).tiny)
        return scaled / norms(scaled).clamp_min(1e-12)

    def random(self, uniform: Tensor) -> Tensor:
        """Return random images in the ball, clipped to [0, 1].

        They are uniform in the L-infinity ball. For L2 they lie in a random direction, at a distance uniform in
        [0, radius].

        Args:
            uniform: (B, ..., C * H * W + 1) numbers in [0, 1): one for each pixel, and the last for the distance.
        """
        each = uniform[..., :-1].unflatten(-1, self.images.shape[-3:])
        if self.threat.norm == "linf":
            return self.project(self.images + self.radius * (2 * each - 1))
        reach = self.radius * uniform[..., -1, None, None, None]
        return self.project(self.images + reach * self.direction(normal_of(each)))


def norms(images: Tensor) -> Tensor:
    """L2 norms of images: (..., C, H, W) -> (..., 1, 1, 1)."""
    return torch.linalg.vector_norm(images, dim=(-3, -2, -1), keepdim=True)
