"""Small attacks for the tests of solvers, and the same ones as other libraries want them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from support import unit_rows
from torch import Tensor, nn

from robustbench_dml.solvers.base import Problem
from robustbench_dml.spec.schema import Norm, Threat

SHAPE = (2, 6, 7)
DIMENSION = 5
NORMS: tuple[Norm, ...] = ("linf", "l2")
RADIUS: dict[Norm, float] = {"linf": 0.2, "l2": 1.1}


def network(*, seed: int = 0, hidden: int | None = None, shape: tuple[int, ...] = SHAPE) -> nn.Module:
    """A network in float64, linear unless it has hidden units: its result hardly depends on the batch."""
    sizes = [torch.Size(shape).numel(), *([hidden] if hidden else []), DIMENSION]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [layer for before, after in pairwise(sizes) for layer in (nn.Linear(before, after), nn.Tanh())]
    return nn.Sequential(nn.Flatten(), *layers[:-1]).double().eval()


def problem(
    norm: Norm = "linf",
    *,
    eps: float | None = None,
    alpha: float | None = None,
    steps: int = 6,
    count: int = 5,
    model: nn.Module | None = None,
    surrogate: Callable[[], Problem] | None = None,
    shape: tuple[int, ...] = SHAPE,
    key: str = "test",
) -> Problem:
    """Images, some of their pixels at 0 and 1, whose embeddings are to come near others."""
    rng = torch.Generator().manual_seed(1)
    images = torch.rand(count, *shape, generator=rng, dtype=torch.float64).mul_(1.2).sub_(0.1).clamp_(0, 1)
    targets = unit_rows(count, DIMENSION, seed=2)
    radius = RADIUS[norm] if eps is None else eps
    return Problem(
        model=model or network(shape=shape),
        images=images,
        objective=lambda embeddings, rows: (embeddings - targets[rows]).square().sum(1),
        threat=Threat(norm=norm, eps=radius, alpha=radius / 4 if alpha is None else alpha, steps=steps),
        items=3 * torch.arange(count) + 1,
        key=(0, key),
        rows=torch.arange(count),
        surrogate=surrogate,
    )


class Logits(nn.Module):
    """Logits (0, -objective): their cross entropy with class 0 rises as the objective falls, along its gradient."""

    def __init__(self, attacked: Problem) -> None:
        super().__init__()
        self.model, self._attacked = attacked.model, attacked

    def forward(self, images: Tensor) -> Tensor:
        values = self._attacked.objective(self.model(images), self._attacked.rows)
        return torch.stack([torch.zeros_like(values), -values], dim=1)


def classes(attacked: Problem) -> Tensor:
    """The class of every image that goes with `Logits`."""
    return torch.zeros(len(attacked), dtype=torch.long)


def lengths(away: Tensor, norm: Norm) -> Tensor:
    """(B,) norms of perturbations."""
    flat = away.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)
