"""Hardness Manipulation HM[H_S, H_D] and its named members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from robustbench_dml.defense import Defense, Perturbed, mine
from robustbench_dml.defenses.hm.destinations import INITIAL_LOSS, destination_by_name
from robustbench_dml.defenses.hm.structure import intra_class_structure
from robustbench_dml.errors import RbdmlError
from robustbench_dml.geometry import hardness, triplet_loss
from robustbench_dml.perturb import pgd
from robustbench_dml.protocol import MARGIN
from robustbench_dml.registry import register_defense
from robustbench_dml.sampling import Batch, sampler_by_name

PAPER = "Zhou and Patel, CVPR 2022, arXiv:2203.01439"


@register_defense(
    "hm-lga-ics",
    summary="HM[S,g_LGA]&ICS: softhard triplets, linear gradual adversary, intra-class structure",
    paper=PAPER,
    source="S",
    destination="lga",
    ics=0.5,
)
@dataclass(kw_only=True)
class HardnessManipulation(Defense):
    """Raise the hardness of benign triplets to a destination, and train on what results.

    The adversary minimises max(0, H_D - H)^2 over the images of each triplet; its gradient has the sign of the
    hardness's own wherever H < H_D, so it is a maximisation of the hardness that stops at H_D.

    Attributes:
        source: sampler of the benign triplets, by letter or name.
        destination: `lga`, a sampler's letter (the source's own: no change), or a number in [-2, 2] (2: direct
            min-max adaptation).
        ics: weight of the intra-class structure term; 0 leaves it out.
        early_stop: take triplets out of the PGD batch once they are at their destination. The result is the
            same, the cost lower.
    """

    source: str = "S"
    destination: str = "lga"
    ics: float = 0.0
    early_stop: bool = True
    _previous_loss: float = field(default=INITIAL_LOSS, init=False, repr=False)

    def __post_init__(self) -> None:
        self._source = sampler_by_name(self.source)
        self._destination = destination_by_name(self.destination, source=self._source)
        if self.ics < 0:
            raise RbdmlError(f"ics = {self.ics} is negative: it is the weight of a loss term")

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        triplets, embeddings = mine(model, batch, self._source)
        if embeddings is None and (self._destination.needs_embeddings or self.early_stop):
            with torch.no_grad():
                embeddings = model(batch.images)
        target = self._destination.hardness(triplets, batch, embeddings, self._previous_loss)

        def shortfall(moved: Tensor, rows: Tensor) -> Tensor:
            return (target[rows] - hardness(*moved.unbind(1))).relu().square()

        active = None
        if self.early_stop and embeddings is not None:
            active = hardness(*embeddings[triplets.rows].unbind(1)) < target
        images = pgd(
            model,
            batch.images[triplets.rows],
            shortfall,
            threat=self.threat,
            active=active,
            finished=(lambda values: values == 0) if self.early_stop else None,
        )
        return Perturbed(triplets, images)

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        assert perturbed.images is not None
        moved = model(perturbed.images.flatten(0, 1)).unflatten(0, (-1, 3))
        triplet_term = triplet_loss(*moved.unbind(1), margin=MARGIN)
        self._previous_loss = triplet_term.item()
        if self.ics == 0:
            return triplet_term
        benign = batch.images[perturbed.triplets.rows[:, :2]]
        anchor, positive = model(benign.flatten(0, 1)).unflatten(0, (-1, 2)).unbind(1)
        return triplet_term + self.ics * intra_class_structure(anchor, moved[:, 0], positive)

    def state(self) -> dict[str, float]:
        return {"previous_loss": self._previous_loss}

    def load_state(self, state: Mapping[str, float]) -> None:
        self._previous_loss = state["previous_loss"]
