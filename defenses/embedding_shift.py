"""EST and SES: train against images whose embedding is moved as far as possible.

Zhou et al., ECCV 2020, arXiv:2002.11293; Zhou et al., T-PAMI 2024, arXiv:2106.03614.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from robustbench_dml import MARGIN, Batch, Defense, Perturbed, distance, pgd, register_defense, shift, triplet_loss


class ShiftedBatch(Defense):
    """Moves every image of the batch. `Perturbed.images` is (2P, C, H, W)."""

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
    """Minimise the triplet loss of the shifted images."""

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        anchor, positive, negative = model(perturbed.images)[perturbed.triplets.rows].unbind(1)
        return triplet_loss(anchor, positive, negative, margin=MARGIN)


@register_defense(
    "ses",
    summary="Suppressed Embedding Shift: benign triplet loss plus the distance that images could move",
    paper="Zhou et al., T-PAMI 2024, arXiv:2106.03614",
)
@dataclass(kw_only=True)
class SuppressedEmbeddingShift(ShiftedBatch):
    """Minimise the benign triplet loss plus the mean shift, with gradient to both embeddings of an image."""

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        benign = model(batch.images)
        anchor, positive, negative = benign[perturbed.triplets.rows].unbind(1)
        moved = distance(model(perturbed.images), benign).mean()
        return triplet_loss(anchor, positive, negative, margin=MARGIN) + moved
