"""EST and SES: train against images whose embedding is moved as far as possible.

Zhou et al., ECCV 2020, arXiv:2002.11293; Zhou et al., T-PAMI 2024, arXiv:2106.03614.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from robustbench_dml import Batch, Defense, Perturbed, distance, pgd, register_defense, shift


class ShiftedBatch(Defense):
    """Moves every image of the batch. `Perturbed.images` is (2P, C, H, W)."""

    takes_losses: ClassVar[bool] = True

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        triplets, origin = self.mine_embedded(model, batch)
        images = pgd(model, batch.images, lambda moved, rows: -shift(moved, origin[rows]), threat=self.threat)
        return Perturbed(triplets, images)


@register_defense(
    "est",
    summary="Embedding-Shifted Triplet: triplet loss on images that moved their embedding as far as they could",
    paper="Zhou et al., ECCV 2020, arXiv:2002.11293",
)
@dataclass(kw_only=True)
class EmbeddingShiftedTriplet(ShiftedBatch):
    """Minimise the loss of the shifted images, by default that of triplets."""

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        return self.metric_loss(model(perturbed.images), batch, perturbed.triplets)


@register_defense(
    "ses",
    summary="Suppressed Embedding Shift: benign triplet loss plus the distance that images could move",
    paper="Zhou et al., T-PAMI 2024, arXiv:2106.03614",
)
@dataclass(kw_only=True)
class SuppressedEmbeddingShift(ShiftedBatch):
    """Minimise the benign loss plus the mean shift, with gradient to both embeddings of an image."""

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        benign = model(batch.images)
        moved = distance(model(perturbed.images), benign).mean()
        return self.metric_loss(benign, batch, perturbed.triplets) + moved
