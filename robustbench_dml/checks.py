"""Signs that an attack measured something other than robustness, after Athalye et al., ICML 2018, arXiv:1802.00420.

They need a few propagations only and are part of every evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from robustbench_dml.datasets.base import Split
from robustbench_dml.randomness import generator, uniform_per_item

SAMPLE = 64  # images that are looked at
DEAD = 0.1  # share of images without input gradient above which gradients count as masked
TINY = 1e-20  # below this an attack that averages over a gallery underflows in float32
REPEATED = 1e-4  # distance between two embeddings of one image above which the model counts as random


@dataclass(frozen=True)
class GradientChecks:
    """What the checks saw.

    Attributes:
        without_gradient: share of images whose embedding has no input gradient above 1e-20.
        repeat_difference: largest distance between two embeddings of the same image.
    """

    without_gradient: float
    repeat_difference: float

    @property
    def flags(self) -> list[str]:
        """The names of what is wrong."""
        found = {
            "no gradient": self.without_gradient > DEAD,
            "random": self.repeat_difference > REPEATED,
        }
        return [name for name, raised in found.items() if raised]


def check_gradients(model: nn.Module, split: Split, *, seed: int, dataset: str) -> GradientChecks:
    """Look at a seeded sample of images.

    The gradient is that of the embedding along one random direction; an honest network has none only by accident.
    """
    rows = torch.arange(len(split))
    order = uniform_per_item(rows, 1, key=(seed, "checks", dataset)).squeeze(1).argsort()
    images = split.batch(order[:SAMPLE].to(split.labels.device)).requires_grad_()
    with torch.enable_grad():
        embeddings = model(images)
        direction = torch.randn(embeddings.shape[1], generator=generator(seed, "check direction")).to(embeddings)
        along = (embeddings @ direction).sum()
        gradient = torch.autograd.grad(along, images, allow_unused=True)[0] if along.requires_grad else None
    with torch.no_grad():
        repeated = torch.linalg.vector_norm(model(images) - embeddings, dim=1).max()
    dead = 1.0 if gradient is None else float((gradient.abs() < TINY).flatten(1).all(1).double().mean())
    return GradientChecks(without_gradient=dead, repeat_difference=float(repeated))
