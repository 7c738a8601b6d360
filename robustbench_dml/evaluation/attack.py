"""The contract of an attack, for a file under `attacks/`.

An attack works on embeddings, never on images. The solver is a parameter of the evaluation, so an attack has no line
about steps or gradients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_dml.retrieval.gallery import Block, Items
from robustbench_dml.solvers.base import Solver
from robustbench_dml.spec.columns import Column
from robustbench_dml.spec.schema import Evaluation, Threat
from robustbench_dml.utils.errors import RbdmlError

# draws(n) -> (B, n) uniform numbers in [0, 1), the same for an image in every batch
Draws = Callable[[int], Tensor]


class Attack(ABC):
    """Moves the embeddings of images so that retrieval fails."""

    requires_solver: ClassVar[str | None] = None  # name of the only solver it works with; None: any

    own_solver: ClassVar[Solver | None] = None  # finds its images, whatever solver the evaluation has

    of_candidate: ClassVar[bool] = False  # attacks a candidate in the lists of its targets, else a query

    @classmethod
    def further_columns(cls, evaluation: Evaluation) -> tuple[Column, ...]:
        """Columns beside the registered ones, which depend on the evaluation and count for no score."""
        return ()

    def within(self, threat: Threat) -> Threat:
        """The threat of this attack, from that of the evaluation."""
        return threat

    def choose_targets(self, items: Items, draws: Draws) -> Tensor:
        """Return (B, W) gallery rows for the objective, none of them an image's own row. By default W is 0."""
        return items.rows.new_empty((len(items), 0))

    @abstractmethod
    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        """Map (B, D) attacked embeddings to (B,) values that the solver minimises."""

    @abstractmethod
    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        """Map (B, D) attacked embeddings to (B,) float64 fractions for each column."""


def random_others(items: Items, draws: Draws, *, width: int = 1) -> Tensor:
    """Draw (B, W) different gallery rows other than the image's own. A smaller W gives the first rows of a larger W.

    Raises:
        RbdmlError: the gallery has fewer than W other rows.
    """
    return _distinct(draws(width), among=len(items.gallery), taken=items.rows[:, None])


def random_near(items: Items, draws: Draws, *, width: int = 1) -> Tensor:
    """Draw (B, W) different rows from the nearest 1% of the gallery (at least W rows).

    Raises:
        RbdmlError: the gallery has fewer than W other rows.
    """
    near = items.nearest[:, : max(width, items.percent)]
    none = near.new_empty(len(near), 0)
    return near.gather(1, _distinct(draws(width), among=near.shape[1], taken=none))


def _distinct(draws: Tensor, *, among: int, taken: Tensor) -> Tensor:
    """Map (B, W) uniform draws to (B, W) different integers in [0, among), none of them in the (B, T) taken ones."""
    chosen, left = taken, among - taken.shape[1]
    if draws.shape[1] > left:
        raise RbdmlError(
            f"an attack with {draws.shape[1]} targets on a gallery with {left} other images: leave it out, or take "
            "more test images"
        )
    for draw in draws.to(taken.device).unbind(1):
        number = (draw * (among - chosen.shape[1])).long()  # counts the integers that are not chosen yet
        for other in chosen.sort(1).values.unbind(1):
            number = number + (number >= other)
        chosen = torch.cat([chosen, number[:, None]], dim=1)
    return chosen[:, taken.shape[1] :]
