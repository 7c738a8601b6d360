"""EST and SES: train against images that move their own embedding as far as they can.

Zhou et al., ECCV 2020, arXiv:2002.11293; Zhou et al., T-PAMI 2024, arXiv:2106.03614.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from robustbench_dml.retrieval.geometry import distance, shift
from robustbench_dml.solvers.group_pgd import pgd
from robustbench_dml.spec.registry import register_defense
from robustbench_dml.training.batches import Batch
from robustbench_dml.training.defense import Defense, Perturbed
from robustbench_dml.training.losses import MARGIN, triplet_loss


class ShiftedBatch(Defense):
    """Moves every image of the batch, so `Perturbed.images` is (2P, C, H, W)."""

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
    """Minimise the benign triplet loss plus the mean shift, with gradient on both its ends."""

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        benign = model(batch.images)
        anchor, positive, negative = benign[perturbed.triplets.rows].unbind(1)
        moved = distance(model(perturbed.images), benign).mean()
        return triplet_loss(anchor, positive, negative, margin=MARGIN) + moved
