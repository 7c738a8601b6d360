"""Destination hardness H_D: how hard Hardness Manipulation makes each triplet.

Zhou and Patel, CVPR 2022, arXiv:2203.01439.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from robustbench_dml.errors import RbdmlError
from robustbench_dml.geometry import hardness
from robustbench_dml.protocol import MARGIN
from robustbench_dml.sampling import Batch, Sampler, Triplets, sampler_by_name

INITIAL_LOSS = 2.0  # stands for the loss before the first iteration, so that training starts benign


class Destination(ABC):
    """Gives the destination hardness of each triplet. `needs_embeddings`: of the benign batch."""

    needs_embeddings = False

    @abstractmethod
    def hardness(self, triplets: Triplets, batch: Batch, embeddings: Tensor | None, previous_loss: float) -> Tensor:
        """(T,) destinations, in [-2, 2].

        Args:
            triplets: the T source triplets.
            batch: where they come from.
            embeddings: (2P, D) benign embeddings, where the destination or the source looks at them.
            previous_loss: the triplet term of the previous iteration's loss, without any other term.
        """


class Constant(Destination):
    """The same hardness for every triplet. 2 is the upper bound: the direct min-max adaptation."""

    def __init__(self, value: float) -> None:
        self.value = value

    def hardness(self, triplets: Triplets, batch: Batch, embeddings: Tensor | None, previous_loss: float) -> Tensor:
        return torch.full(triplets.anchor.shape, self.value, device=triplets.anchor.device)


class Unchanged(Destination):
    """The triplet's own hardness, H_D = H_S: nothing is perturbed, which is regular training."""

    needs_embeddings = True

    def hardness(self, triplets: Triplets, batch: Batch, embeddings: Tensor | None, previous_loss: float) -> Tensor:
        assert embeddings is not None
        return hardness(*embeddings[triplets.rows].unbind(1))


class Sampled(Destination):
    """The hardness of another benign triplet with the same anchor, chosen by a sampler."""

    needs_embeddings = True

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler

    def hardness(self, triplets: Triplets, batch: Batch, embeddings: Tensor | None, previous_loss: float) -> Tensor:
        assert embeddings is not None
        return hardness(*embeddings[self.sampler.choose(embeddings, batch).rows].unbind(1))


class LinearGradualAdversary(Destination):
    """g_LGA = -gamma * min(u, previous loss) / u, u = gamma: the adversary hardens as the loss falls."""

    def hardness(self, triplets: Triplets, batch: Batch, embeddings: Tensor | None, previous_loss: float) -> Tensor:
        level = min(MARGIN, previous_loss) / MARGIN
        return torch.full(triplets.anchor.shape, -MARGIN * level, device=triplets.anchor.device)


GRADUAL: dict[str, Callable[[], Destination]] = {"lga": LinearGradualAdversary}


def destination_by_name(name: str, *, source: Sampler) -> Destination:
    """A destination from its name: a gradual adversary (`lga`), a sampler's letter, or a number in [-2, 2].

    The source's own letter means H_D = H_S.

    Raises:
        RbdmlError: none of these.
    """
    if name in GRADUAL:
        return GRADUAL[name]()
    try:
        value = float(name)
    except ValueError:
        pass
    else:
        if -2 <= value <= 2:
            return Constant(value)
        raise RbdmlError(f"destination hardness {name} is out of range: hardness lies in [-2, 2]")
    try:
        sampler = sampler_by_name(name)
    except RbdmlError:
        known = ", ".join(GRADUAL)
        raise RbdmlError(
            f"unknown destination '{name}': use a gradual adversary ({known}), a sampler's letter or a number"
        ) from None
    return Unchanged() if sampler == source else Sampled(sampler)
