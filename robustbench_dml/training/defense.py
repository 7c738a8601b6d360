"""The contract of a defense, for a file under `defenses/`.

A defense makes adversarial examples from a batch and defines the loss on them. It has no part in the optimizer, the
meter or the training loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustbench_dml.spec.schema import Threat
from robustbench_dml.training.batches import Batch
from robustbench_dml.training.criterion import Criterion
from robustbench_dml.training.losses import MARGIN, triplet_loss
from robustbench_dml.training.miners import Triplets, miner_by_name


@dataclass(frozen=True)
class Perturbed:
    """The result of `Defense.perturb`, passed to `Defense.loss`.

    Attributes:
        triplets: T triplets as rows of the batch.
        images: adversarial images in a shape of the defense's choice, for instance (T, 3, C, H, W) for triplets or
            (2P, C, H, W) for the batch. Empty if the defense trains on benign images.
    """

    triplets: Triplets
    images: Tensor = field(default_factory=lambda: torch.empty(0))


State = dict[str, Tensor]


@dataclass(kw_only=True)
class Defense(ABC):
    """A way to train. Subclasses are dataclasses whose fields are parameters (bool, int, float or str).

    Attributes:
        threat: perturbation set of training, given by the harness. It is not a parameter.
        sampler: letter or name of the triplet miner.
    """

    fake: ClassVar[bool] = False  # a test of the diagnostics, never ranked
    trains: ClassVar[bool] = True  # False: the network keeps its initial weights, at no cost
    seeded: ClassVar[bool] = True  # False: the deployed model does not depend on the seed
    takes_losses: ClassVar[bool] = False  # its loss is `metric_loss`, which `--loss` chooses

    threat: Threat
    sampler: str = "R"
    criterion: Criterion | None = field(default=None, init=False, repr=False)  # the run's --loss, set by the harness

    def __post_init__(self) -> None:
        self._miner = miner_by_name(self.sampler)
        self.sampler = self._miner.letter

    @property
    def replays(self) -> int:
        """Number of consecutive iterations on the same batch."""
        return 1

    @property
    def nominal_cost(self) -> int:
        """The papers' cost of an iteration, in forward-backward passes of the batch. Measured costs differ."""
        return self.threat.steps + 1

    @abstractmethod
    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Mine triplets and make adversarial examples. Called in eval mode, without gradient."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        """Return the scalar loss of the weights. Called in train mode, with gradient."""

    def metric_loss(self, embeddings: Tensor, batch: Batch, triplets: Triplets) -> Tensor:
        """Return the loss () of the (2P, D) embeddings of a batch: the run's `--loss`, by default that of triplets."""
        if self.criterion is not None:
            return self.criterion(embeddings, batch)
        return triplet_loss(*embeddings[triplets.rows].unbind(1), margin=MARGIN)

    def deploy(self, model: nn.Module) -> nn.Module:
        """Turn the trained model into the evaluated model, by default the same."""
        return model

    def state(self) -> State:
        """Return the state between iterations, which is saved with every checkpoint."""
        return {}

    def load_state(self, state: State) -> None:  # noqa: B027 - most defenses have no state
        """Restore the result of `state`."""

    def mine(self, model: nn.Module, batch: Batch) -> tuple[Triplets, Tensor | None]:
        """Mine triplets. Returns them and the benign embeddings (2P, D), None if the miner needs none."""
        if self._miner.needs_embeddings:
            return self.mine_embedded(model, batch)
        return self._miner.choose(None, batch), None

    def mine_embedded(self, model: nn.Module, batch: Batch) -> tuple[Triplets, Tensor]:
        """Mine triplets. Returns them and the benign embeddings (2P, D)."""
        embeddings = embed_benign(model, batch)
        return self._miner.choose(embeddings, batch), embeddings


@torch.no_grad()
def embed_benign(model: nn.Module, batch: Batch) -> Tensor:
    """Return the (2P, D) embeddings of the batch, without gradient."""
    embeddings: Tensor = model(batch.images)
    return embeddings


def embed_groups(model: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    """Embed (T, K, C, H, W) images in groups of K in one forward; returns K times (T, D)."""
    embeddings: Tensor = model(images.flatten(0, 1))
    return embeddings.unflatten(0, images.shape[:2]).unbind(1)
