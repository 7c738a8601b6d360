"""Destination hardness H_D: how hard Hardness Manipulation makes each triplet.

Zhou and Patel, CVPR 2022, arXiv:2203.01439.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_dml import MARGIN, Batch, RbdmlError, TripletMiner, Triplets, did_you_mean, hardness, miner_by_name

INITIAL_LOSS = 2.0  # stands for the loss before the first iteration, so that training starts benign
POWERS = {"lga": 1.0, "g_2": 2.0, "g_1/2": 0.5}  # of the level, by the name of the gradual adversary


class Destination(ABC):
    """Gives the destination hardness of each triplet. `needs_embeddings`: of the benign batch."""

    needs_embeddings = False
    perturbs = True  # whether there is anything to do

    @abstractmethod
    def hardness(self, triplets: Triplets, batch: Batch, embeddings: Tensor | None, level: float) -> Tensor:
        """(T,) destinations, in [-2, 2].

        Args:
            triplets: the T source triplets.
            batch: where they come from.
            embeddings: (2P, D) benign embeddings, where the destination or the source looks at them.
            level: l = min(u, previous loss) / u, in [0, 1], 1 at the start; it falls as training succeeds.
        """


@dataclass(frozen=True)
class Constant(Destination):
    """The same hardness for every triplet. 2 is the upper bound: the direct min-max adaptation."""

    value: float

    def hardness(self, triplets: Triplets, batch: Batch, embeddings: Tensor | None, level: float) -> Tensor:
        return torch.full(triplets.anchor.shape, self.value, device=triplets.anchor.device)


class Unchanged(Destination):
    """The triplet's own hardness, H_D = H_S: nothing is perturbed, which is regular training."""

    needs_embeddings = True
    perturbs = False

    def hardness(self, triplets: Triplets, batch: Batch, embeddings: Tensor | None, level: float) -> Tensor:
        assert embeddings is not None
        return hardness(*embeddings[triplets.rows].unbind(1))


@dataclass(frozen=True)
class Mined(Destination):
    """The hardness of another benign triplet with the same anchor, chosen by a sampler, plus xi * (1 - l)."""

    miner: TripletMiner
    xi: float = 0.0

    needs_embeddings = True

    def hardness(self, triplets: Triplets, batch: Batch, embeddings: Tensor | None, level: float) -> Tensor:
        assert embeddings is not None
        mined = hardness(*embeddings[self.miner.choose(embeddings, batch).rows].unbind(1))
        return mined + self.xi * (1 - level)


@dataclass(frozen=True)
class Gradual(Destination):
    """-gamma * l^power: the adversary hardens as the loss falls. Power 1 is the linear gradual adversary (LGA)."""

    power: float

    def hardness(self, triplets: Triplets, batch: Batch, embeddings: Tensor | None, level: float) -> Tensor:
        return torch.full(triplets.anchor.shape, -MARGIN * level**self.power, device=triplets.anchor.device)


def destination_by_name(name: str, *, source: TripletMiner, xi: float) -> tuple[Destination, str]:
    """A destination from its name, and the one way to write it.

    Args:
        name: `lga`, `g_2` or `g_1/2` (gradual); a sampler's letter (the source's own: H_D = H_S); `g_B(X)`, X a
            sampler's letter (sampled and gradual); or a number in [-2, 2].
        source: the sampler of the benign triplets.
        xi: of g_B.

    Raises:
        RbdmlError: none of these.
    """
    if name in POWERS:
        return Gradual(POWERS[name]), name
    gradually = re.fullmatch(r"g_B\((.+)\)", name)
    try:
        if gradually:
            miner = miner_by_name(gradually[1])
            return Mined(miner, xi), f"g_B({miner.letter})"
        if re.fullmatch(r"[A-Za-z]+", name):
            miner = miner_by_name(name)
            return Unchanged() if miner == source else Mined(miner), miner.letter
        value = float(name)
    except (RbdmlError, ValueError):
        hint = did_you_mean(name, POWERS)
        raise RbdmlError(
            f"unknown destination '{name}': {hint}use {', '.join(POWERS)}, g_B(M), a sampler's letter or a number"
        ) from None
    if not -2 <= value <= 2:
        raise RbdmlError(f"destination hardness {name} is out of range: hardness lies in [-2, 2]")
    return Constant(value), f"{value:g}"
