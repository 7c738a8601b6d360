"""The contract of a defense: what a file under `defenses/` fills in.

A defense makes adversarial examples out of a batch and says what is to be minimised on them. It never touches
the optimiser, the meter or the training loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from robustbench_dml.batches import Batch
from robustbench_dml.parameters import resolve
from robustbench_dml.protocol import Threat
from robustbench_dml.registry import DATASETS, DEFENSES, DefenseInfo, ParamValue
from robustbench_dml.samplers import Triplets, sampler_by_name


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
        self._sampler = sampler_by_name(self.sampler)
        self.sampler = self._sampler.letter

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
        if self._sampler.needs_embeddings:
            return self.mine_embedded(model, batch)
        return self._sampler.choose(None, batch), None

    def mine_embedded(self, model: nn.Module, batch: Batch) -> tuple[Triplets, Tensor]:
        """Triplets, and the benign embeddings (2P, D) whether or not the sampler looks at them."""
        embeddings = embed_benign(model, batch)
        return self._sampler.choose(embeddings, batch), embeddings


@torch.no_grad()
def embed_benign(model: nn.Module, batch: Batch) -> Tensor:
    """(2P, D) embeddings of the batch, without gradient."""
    embeddings: Tensor = model(batch.images)
    return embeddings


def embed_groups(model: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    """(T, K, C, H, W) images in groups of K, in one forward -> K times (T, D) embeddings."""
    embeddings: Tensor = model(images.flatten(0, 1))
    return embeddings.unflatten(0, images.shape[:2]).unbind(1)


def resolve_params(info: DefenseInfo, overrides: Mapping[str, Any]) -> dict[str, ParamValue]:
    """All parameters of a defense: the class's defaults, the entry's, then the user's.

    Raises:
        RbdmlError: unknown name, or a value of the wrong type.
    """
    params = resolve(info.cls, overrides, owner=f"defense '{info.name}'", given=("threat",), defaults=info.defaults)
    # A value can have the type and be refused, or be another way to write the same.
    built = build_defense(info.name, params, Threat(eps=0, alpha=0, steps=0))
    return {name: getattr(built, name) for name in params}


def published_params(info: DefenseInfo, dataset: str, named: Mapping[str, Any] | None = None) -> dict[str, ParamValue]:
    """The parameters that were published for a data set with other values than the defense's own.

    Args:
        info: the defense.
        dataset: name; for one that is not registered nothing is known.
        named: what its name sets beside the entry. A part of a defense that is off, at 0, stays off.
    """
    known = DATASETS.get(dataset).params if dataset in DATASETS else {}
    values = {
        name: value for of, own in known.items() if DEFENSES.get(of).cls is info.cls for name, value in own.items()
    }
    general = resolve_params(info, named or {}) if values else {}
    return {name: value for name, value in values.items() if general[name] != 0}


def usual_params(info: DefenseInfo, dataset: str) -> dict[str, ParamValue]:
    """All parameters of a defense on a data set where a user sets none."""
    return resolve_params(info, published_params(info, dataset))


def build_defense(name: str, params: Mapping[str, ParamValue], threat: Threat) -> Defense:
    """A new defense, ready for its first iteration.

    Raises:
        RbdmlError: unknown name, or a parameter that the defense refuses.
    """
    return DEFENSES.get(name).cls(threat=threat, **params)  # type: ignore[arg-type]
