"""The baseline without training: the network with its initial weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from robustbench_dml import Batch, Defense, Perturbed, register_defense


@register_defense("untrained", summary="BASELINE: the network with its initial weights", paper="of this project")
@dataclass(kw_only=True)
class Untrained(Defense):
    """Train nothing. Settings of training and the budget have no effect."""

    trains: ClassVar[bool] = False
    sampler: str = field(default="R", init=False)

    @property
    def nominal_cost(self) -> int:
        return 0

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        raise NotImplementedError

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        raise NotImplementedError
