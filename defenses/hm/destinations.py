"""Destination hardness H_D of the triplets in Hardness Manipulation.

Zhou and Patel, CVPR 2022, arXiv:2203.01439.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_dml import MARGIN, Batch, RbdmlError, TripletMiner, Triplets, did_you_mean, hardness, miner_by_name

INITIAL_LOSS = 2.0  # loss before the first iteration; training starts with benign triplets
POWERS = {"lga": 1.0, "g_2": 2.0, "g_1/2": 0.5}  # power of the level, by name of the gradual adversary


class Destination(ABC):
    """Computes the destination hardness of each triplet."""

    needs_embeddings = False  # needs embeddings of the benign batch
    perturbs = True

    @abstractmethod
    def hardness(self, triplets: Triplets, batch: Batch, embeddings: Tensor | None, level: float) -> Tensor:
        """Return (T,) destinations in [-2, 2].

        Args:
            triplets: the T source triplets.
            batch: their batch.
            embeddings: (2P, D) benign embeddings, if the destination or the source miner needs them.
            level: l = min(u, previous loss) / u, in [0, 1]. It is 1 at the start and falls as training succeeds.
        """


@dataclass(frozen=True)
class Constant(Destination):
    """The same hardness for every triplet. The upper bound 2 gives direct min-max training."""

    value: float

    def hardness(self, triplets: Triplets, batch: Batch, embeddings: Tensor | None, level: float) -> Tensor:
        return torch.full(triplets.anchor.shape, self.value, device=triplets.anchor.device)


class Unchanged(Destination):
    """The triplet's benign hardness, H_D = H_S. Nothing is perturbed, so training is regular."""

    needs_embeddings = True
    perturbs = False

    def hardness(self, triplets: Triplets, batch: Batch, embeddings: Tensor | None, level: float) -> Tensor:
        assert embeddings is not None
        return hardness(*embeddings[triplets.rows].unbind(1))


@dataclass(frozen=True)
class Mined(Destination):
    """The hardness of another benign triplet of the same anchor, from a miner, plus xi * (1 - l)."""

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
    """Return a destination and its canonical name.

    Args:
        name: `lga`, `g_2` or `g_1/2` (gradual); a miner's letter (that of the source: H_D = H_S); `g_B(X)` with a
            miner's letter X (mined and gradual); or a number in [-2, 2].
        source: miner of the benign triplets.
        xi: parameter of g_B.

    Raises:
        RbdmlError: the name is none of these.
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
