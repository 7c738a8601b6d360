"""No defense: triplet loss on benign images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from robustbench_dml import MARGIN, Batch, Defense, Perturbed, register_defense, triplet_loss


@register_defense(
    "regular",
    summary="no defense: triplet loss on benign images",
    paper="Schroff et al., CVPR 2015, arXiv:1503.03832",
)
@dataclass(kw_only=True)
class Regular(Defense):
    """Minimise the triplet loss of benign triplets."""

    @property
    def nominal_cost(self) -> int:
        return 1

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        triplets, _ = self.mine(model, batch)
        return Perturbed(triplets)

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        anchor, positive, negative = model(batch.images)[perturbed.triplets.rows].unbind(1)
        return triplet_loss(anchor, positive, negative, margin=MARGIN)
