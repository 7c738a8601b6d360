"""ACT: train against positives and negatives that are moved together.

Zhou et al., T-PAMI 2024, arXiv:2106.03614.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from robustbench_dml import (
    MARGIN,
    Batch,
    Defense,
    Perturbed,
    distance,
    embed_groups,
    pgd,
    register_defense,
    triplet_loss,
)

PAPER = "Zhou et al., T-PAMI 2024, arXiv:2106.03614"


@register_defense("act", summary="ACT[R]: Anti-Collapse Triplet with random triplets", paper=PAPER, sampler="R")
@register_defense("act-s", summary="ACT[S]: Anti-Collapse Triplet with softhard triplets", paper=PAPER, sampler="S")
@dataclass(kw_only=True)
class AntiCollapseTriplet(Defense):
    """Move the positive and the negative together, d(p~, n~) -> min, and minimise their triplet loss with the anchor.

    The anchor stays benign. `Perturbed.images` is (T, 2, C, H, W).
    """

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        triplets, _ = self.mine(model, batch)
        images = batch.images[triplets.rows[:, 1:]]
        return Perturbed(triplets, pgd(model, images, lambda e, _: distance(*e.unbind(1)), threat=self.threat))

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        positive, negative = embed_groups(model, perturbed.images)
        anchor = model(batch.images[perturbed.triplets.anchor])
        return triplet_loss(anchor, positive, negative, margin=MARGIN)
