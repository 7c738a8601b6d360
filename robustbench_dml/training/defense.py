"""The contract of a defense: what a file under `defenses/` fills in.

A defense makes adversarial examples out of a batch and says what is to be minimised on them. It never touches
the solver, the meter or the training loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustbench_dml.spec.schema import Threat
from robustbench_dml.training.batches import Batch
from robustbench_dml.training.miners import Triplets, miner_by_name


@dataclass(frozen=True)
class Perturbed:
    """What `Defense.perturb` hands to `Defense.loss`.

    Attributes:
        triplets: T triplets as rows of the batch.
        images: the adversarial images in whatever shape the defense uses, for instance (T, 3, C, H, W) for
            triplets or (2P, C, H, W) for the batch; empty where the defense trains on benign images.
    """

    triplets: Triplets
    images: Tensor = field(default_factory=lambda: torch.empty(0))


State = dict[str, Tensor]


@dataclass(kw_only=True)
class Defense(ABC):
    """A way to train. Subclasses are dataclasses whose fields are their parameters (bool, int, float or str).

    Attributes:
        threat: the perturbations of training; given by the harness, not a parameter.
        sampler: which triplets of a batch, by letter or name.
    """

    fake: ClassVar[bool] = False  # made to be caught, never ranked

    threat: Threat
    sampler: str = "R"

    def __post_init__(self) -> None:
        self._miner = miner_by_name(self.sampler)
        self.sampler = self._miner.letter

    @property
    def replays(self) -> int:
        """Iterations in a row that get the same batch."""
        return 1

    @property
    def nominal_cost(self) -> int:
        """The papers' cost of one iteration, in forward-backward passes of the batch; measured costs differ."""
        return self.threat.steps + 1

    @abstractmethod
    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Choose triplets and make adversarial examples. Called in eval mode, outside of any gradient."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        """The scalar to minimise over the weights. Called in train mode, with gradient."""

    def deploy(self, model: nn.Module) -> nn.Module:
        """The model that is evaluated and used, made of the trained one; by default itself."""
        return model

    def state(self) -> State:
        """What the defense remembers from one iteration to the next; saved with every checkpoint."""
        return {}

    def load_state(self, state: State) -> None:  # noqa: B027 - most defenses remember nothing
        """Take up what `state` returned."""

    def mine(self, model: nn.Module, batch: Batch) -> tuple[Triplets, Tensor | None]:
        """Triplets, and the benign embeddings (2P, D) that the sampler looked at, None if it looks at none."""
        if self._miner.needs_embeddings:
            return self.mine_embedded(model, batch)
        return self._miner.choose(None, batch), None

    def mine_embedded(self, model: nn.Module, batch: Batch) -> tuple[Triplets, Tensor]:
        """Triplets, and the benign embeddings (2P, D) whether or not the sampler looks at them."""
        embeddings = embed_benign(model, batch)
        return self._miner.choose(embeddings, batch), embeddings


@torch.no_grad()
def embed_benign(model: nn.Module, batch: Batch) -> Tensor:
    """(2P, D) embeddings of the batch, without gradient."""
    embeddings: Tensor = model(batch.images)
    return embeddings


def embed_groups(model: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    """(T, K, C, H, W) images in groups of K, in one forward -> K times (T, D) embeddings."""
    embeddings: Tensor = model(images.flatten(0, 1))
    return embeddings.unflatten(0, images.shape[:2]).unbind(1)
