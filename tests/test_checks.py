from __future__ import annotations

import torch
from support import SMALL_IMAGE
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml.checks import GradientChecks, check_gradients
from robustbench_dml.datasets.base import Split
from robustbench_dml.embedder import Embedder

PIXELS = torch.randint(1, 256, (80, *SMALL_IMAGE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SPLIT = Split(PIXELS, torch.arange(80) % 4)


class Model(nn.Module):
    """Pixels as embeddings; a share of the images has no gradient, and each call adds some noise."""

    def __init__(self, *, dead: float = 0.0, noise: float = 0.0) -> None:
        super().__init__()
        self.dead, self.noise = dead, noise

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        alive = (torch.arange(len(images)) >= self.dead * len(images)).float()[:, None]
        flat = flat * alive + flat.detach() * (1 - alive) + self.noise * torch.rand_like(flat)
        return F.normalize(flat, dim=1)


def checks(model: nn.Module) -> GradientChecks:
    return check_gradients(model, SPLIT, seed=0, dataset="d")


def test_an_honest_model_raises_no_flag() -> None:
    assert checks(Model()).flags == []
    assert checks(Embedder(nn.Sequential(nn.Flatten(), nn.Linear(16, 4)))).flags == []


def test_images_without_gradient_are_counted() -> None:
    assert checks(Model(dead=0.25)).without_gradient == 0.25
    assert checks(Model(dead=0.25)).flags == ["no gradient"]
    assert checks(Model(dead=0.05)).flags == []


def test_a_model_that_cuts_the_graph_has_no_gradient() -> None:
    class Cut(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return F.normalize(images.detach().flatten(1), dim=1)

    assert checks(Cut()).flags == ["no gradient"]


def test_randomness_is_noticed() -> None:
    assert checks(Model(noise=0.1)).flags == ["random"]
