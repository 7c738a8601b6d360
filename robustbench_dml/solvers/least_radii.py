"""The least radius at which each image is known to break. A radius counts only with an image that a judge accepts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustbench_dml.solvers.ball import norms

Judge = Callable[[Tensor, Tensor], Tensor]  # (n, C, H, W) images of the (n,) rows -> (n,) whether they are broken
ROUNDING = 1e-6  # the pixels of an image may pass a radius by this share


@dataclass
class LeastRadii:
    """The least known radius that breaks each image, with a broken image at this radius.

    Attributes:
        benign: (B, C, H, W) benign images.
        norm: norm of the radii.
        cap: the largest radius that counts.
        judge: decides which images are broken.
        radii: (B,) float64 distances of `images` from `benign`; infinite where nothing broke an image.
        images: (B, C, H, W) broken images; the benign image where nothing broke it.
        stage: (B,) number of the stage that found the broken image, -1 if no stage did.
    """

    benign: Tensor
    norm: str
    cap: float
    judge: Judge
    radii: Tensor = field(init=False)
    images: Tensor = field(init=False)
    stage: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.radii = self.benign.new_full((len(self.benign),), torch.inf, dtype=torch.float64)
        self.images = self.benign.clone()
        self.stage = torch.full_like(self.radii, -1)

    @property
    def reach(self) -> Tensor:
        """(B,) float64 radii to go below: the least known radius, or the cap."""
        return self.radii.clamp_max(self.cap)

    def distance(self, images: Tensor, rows: Tensor) -> Tensor:
        """(n,) float64 distances of images from the benign images of the (n,) rows."""
        return distances(images, self.benign[rows], self.norm)

    def offer(self, images: Tensor, rows: Tensor, stage: int) -> Tensor:
        """Keep the images, of (n,) different rows, that are broken and nearer than before. Return (n,) true if kept.

        An image may pass the cap by the rounding of its own pixels.
        """
        images = images.to(self.benign)
        distance = self.distance(images, rows)
        distance = torch.where(distance <= self.cap * (1 + ROUNDING), distance.clamp_max(self.cap), torch.inf)
        kept = distance < self.radii[rows]
        trial = kept.nonzero().squeeze(1)
        if len(trial):
            kept[trial] = self.judge(images[trial], rows[trial])
        self.radii[rows[kept]] = distance[kept]
        self.images[rows[kept]] = images[kept]
        self.stage[rows[kept]] = stage
        return kept


def distances(images: Tensor, benign: Tensor, norm: str) -> Tensor:
    """(n,) float64 distances of (n, C, H, W) images from benign images."""
    away = images.double() - benign.double()
    return away.flatten(1).abs().amax(1) if norm == "linf" else norms(away).flatten()
