"""No defense: training on benign images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from robustbench_dml import Batch, Defense, Perturbed, register_defense


@register_defense(
    "regular",
    summary="no defense: triplet loss on benign images",
    paper="Schroff et al., CVPR 2015, arXiv:1503.03832",
)
@dataclass(kw_only=True)
class Regular(Defense):
    """Minimise the loss of benign images, by default that of triplets."""

    takes_losses: ClassVar[bool] = True

    @property
    def nominal_cost(self) -> int:
        return 1

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        triplets, _ = self.mine(model, batch)
        return Perturbed(triplets)

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        return self.metric_loss(model(batch.images), batch, perturbed.triplets)
