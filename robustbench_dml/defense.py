"""The contract of a defense: what a file under `defenses/` fills in.

A defense makes adversarial examples out of a batch and says what is to be minimised on them. It never touches
the optimiser, the meter or the training loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from robustbench_dml.errors import RbdmlError
from robustbench_dml.protocol import Threat
from robustbench_dml.registry import DEFENSES, DefenseInfo, ParamValue
from robustbench_dml.sampling import Batch, Sampler, Triplets


@dataclass(frozen=True)
class Perturbed:
    """What `Defense.perturb` hands to `Defense.loss`.

    Attributes:
        triplets: T triplets as rows of the batch.
        images: the adversarial images in whatever shape the defense uses, (T, 3, C, H, W) for triplets; None
            when the defense trains on benign images.
    """

    triplets: Triplets
    images: Tensor | None = None


@dataclass(kw_only=True)
class Defense(ABC):
    """A way to train. Subclasses are dataclasses whose fields are their parameters (bool, int, float or str)."""

    threat: Threat

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

    def state(self) -> dict[str, float]:
        """What the defense remembers from one iteration to the next; saved with every checkpoint."""
        return {}

    def load_state(self, state: Mapping[str, float]) -> None:  # noqa: B027 - most defenses remember nothing
        """Take up what `state` returned."""


@torch.no_grad()
def mine(model: nn.Module, batch: Batch, sampler: Sampler) -> tuple[Triplets, Tensor | None]:
    """Triplets by this sampler, and the benign embeddings (2P, D) it looked at (None if it looks at none)."""
    embeddings = model(batch.images) if sampler.needs_embeddings else None
    return sampler.choose(embeddings, batch), embeddings


def resolve_params(info: DefenseInfo, overrides: Mapping[str, Any]) -> dict[str, ParamValue]:
    """All parameters of a defense: the class's defaults, the entry's, then the user's.

    Raises:
        RbdmlError: unknown name, or a value of the wrong type.
    """
    types = get_type_hints(info.cls)
    params: dict[str, Any] = {f.name: f.default for f in fields(info.cls) if f.name != "threat" and f.init}
    params.update(info.defaults)
    for name, value in overrides.items():
        if name not in params:
            known = ", ".join(sorted(params)) or "none"
            raise RbdmlError(f"defense '{info.name}' has no parameter '{name}': it has {known}")
        try:
            params[name] = TypeAdapter(types[name]).validate_python(value)
        except ValidationError as error:
            raise RbdmlError(
                f"defense '{info.name}': parameter '{name}' cannot be '{value}': {error.errors()[0]['msg'].lower()}"
            ) from None
    build_defense(info.name, params, Threat(eps=0, alpha=0, steps=0))  # a value can have the type and be refused
    return params


def build_defense(name: str, params: Mapping[str, ParamValue], threat: Threat) -> Defense:
    """A new defense, ready for its first iteration.

    Raises:
        RbdmlError: unknown name, or a parameter that the defense refuses.
    """
    return DEFENSES.get(name).cls(threat=threat, **params)
