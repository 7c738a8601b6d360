"""The contract of an attack: what a file under `attacks/` fills in, over embeddings and never over images.

The solver is a parameter of the evaluation, so an attack has no line about steps or gradients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_dml.retrieval.gallery import Block, Gallery, Items
from robustbench_dml.utils.errors import RbdmlError

__all__ = ["Attack", "Block", "Draws", "Gallery", "Items", "random_near", "random_others"]

# draws(n) -> (B, n) uniform numbers in [0, 1) that belong to each attacked item
Draws = Callable[[int], Tensor]


class Attack(ABC):
    """Moves the embedding of one image to where it does harm."""

    requires_solver: ClassVar[str | None] = None  # the one solver that it works with; None: any

    of_candidate: ClassVar[bool] = False  # the image is a candidate in its targets' lists; otherwise a query

    def choose_targets(self, items: Items, draws: Draws) -> Tensor:
        """(B, W) gallery rows that this attack on `items` is about, none of them an item's own; by default W = 0."""
        return items.rows.new_empty((len(items), 0))

    @abstractmethod
    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        """(B, D) attacked embeddings -> (B,), to be minimised by the attacker."""

    @abstractmethod
    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        """(B, D) attacked embeddings -> one (B,) float64 per column, as fractions."""


def random_others(items: Items, draws: Draws, *, width: int = 1) -> Tensor:
    """(B, W): different random rows of the gallery other than the item's own; fewer are the first of more.

    Raises:
        RbdmlError: there are fewer than W others.
    """
    return _distinct(draws(width), among=len(items.gallery), taken=items.rows[:, None])


def random_near(items: Items, draws: Draws, *, width: int = 1) -> Tensor:
    """(B, W): different random ones of the 1% of the gallery (at least W rows) that is nearest to the item.

    Raises:
        RbdmlError: there are fewer than W others.
    """
    near = items.nearest[:, : max(width, items.percent)]
    nothing = near.new_empty(len(near), 0)
    return near.gather(1, _distinct(draws(width), among=near.shape[1], taken=nothing))


def _distinct(draws: Tensor, *, among: int, taken: Tensor) -> Tensor:
    """(B, W) uniform draws -> (B, W) different integers in [0, among), none of the (B, T) taken ones."""
    chosen, left = taken, among - taken.shape[1]
    if draws.shape[1] > left:
        raise RbdmlError(
            f"an attack with {draws.shape[1]} targets on a gallery with {left} other images: leave it out, or take "
            "more test images"
        )
    for draw in draws.to(taken.device).unbind(1):
        place = (draw * (among - chosen.shape[1])).long()
        for other in chosen.sort(1).values.unbind(1):  # the place-th of those that are left
            place = place + (place >= other)
        chosen = torch.cat([chosen, place[:, None]], dim=1)
    return chosen[:, taken.shape[1] :]
