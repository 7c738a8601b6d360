"""No defense: triplet loss on benign images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from robustbench_dml.defense import Defense, Perturbed, mine
from robustbench_dml.geometry import triplet_loss
from robustbench_dml.protocol import MARGIN
from robustbench_dml.registry import register_defense
from robustbench_dml.sampling import Batch, sampler_by_name


@register_defense(
    "regular",
    summary="no defense: triplet loss on benign images",
    paper="Schroff et al., CVPR 2015, arXiv:1503.03832",
)
@dataclass(kw_only=True)
class Regular(Defense):
    """Minimise the triplet loss of benign triplets.

    Attributes:
        sampler: which triplets, by letter or name.
    """

    sampler: str = "R"

    def __post_init__(self) -> None:
        self._sampler = sampler_by_name(self.sampler)

    @property
    def nominal_cost(self) -> int:
        return 1

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        triplets, _ = mine(model, batch, self._sampler)
        return Perturbed(triplets)

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        anchor, positive, negative = model(batch.images)[perturbed.triplets.rows].unbind(1)
        return triplet_loss(anchor, positive, negative, margin=MARGIN)
