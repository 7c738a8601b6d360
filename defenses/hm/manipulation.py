"""Hardness Manipulation HM[H_S, H_D]."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from robustbench_dml import (
    MARGIN,
    Batch,
    Defense,
    Perturbed,
    RbdmlError,
    State,
    embed_groups,
    hardness,
    log_value,
    pgd,
    triplet_loss,
)
from robustbench_dml.defenses.hm.destinations import INITIAL_LOSS, destination_by_name
from robustbench_dml.defenses.hm.structure import intra_class_structure


@dataclass(kw_only=True)
class HardnessManipulation(Defense):
    """Raise the hardness of benign triplets to a destination, and train on the perturbed triplets.

    The adversary minimises max(0, H_D - H)^2 over the images of each triplet. Where H < H_D its gradient has the sign
    of the gradient of the hardness. So it maximises the hardness and stops at H_D.
    Zhou and Patel, CVPR 2022, arXiv:2203.01439.

    Attributes:
        sampler: miner of the benign triplets, H_S.
        destination: H_D, see `destination_by_name`.
        ics: weight of the intra-class structure term; 0 disables it.
        ics_margin: margin of the intra-class structure term.
        u: loss at which a gradual destination begins to harden.
        xi: hardness that g_B adds to the mined hardness.
        early_stop: remove triplets from the PGD batch at their destination. This lowers the cost and changes the
            result only by the rounding of the network on a smaller batch.
    """

    sampler: str = "S"
    destination: str = "lga"
    ics: float = 0.0
    ics_margin: float = 0.0
    u: float = MARGIN
    xi: float = 0.1
    early_stop: bool = True
    _previous_loss: float = field(default=INITIAL_LOSS, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        named = destination_by_name(self.destination, source=self._miner, xi=self.xi)
        self._destination, self.destination = named
        if self.ics < 0:
            raise RbdmlError(f"ics = {self.ics} is negative: it is the weight of a loss term")
        if self.u <= 0:
            raise RbdmlError(f"u = {self.u} is not positive: it is a value of the loss")

    def target(self, model: nn.Module, batch: Batch) -> tuple[Perturbed, Tensor, Tensor]:
        """Return benign triplets (T, 3, C, H, W), their destinations (T,), and (T,) bool: below the destination."""
        with_embeddings = self._destination.needs_embeddings or self.early_stop
        triplets, embeddings = (self.mine_embedded if with_embeddings else self.mine)(model, batch)
        level = min(self.u, self._previous_loss) / self.u
        target = self._destination.hardness(triplets, batch, embeddings, level)
        below = torch.full_like(target, self._destination.perturbs, dtype=torch.bool)
        if self.early_stop and embeddings is not None:
            below &= hardness(*embeddings[triplets.rows].unbind(1)) < target
        return Perturbed(triplets, batch.images[triplets.rows]), target, below

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        benign, target, below = self.target(model, batch)
        log_value("destination", target)
        images = pgd(
            model,
            benign.images,
            lambda moved, rows: (target[rows] - hardness(*moved.unbind(1))).relu().square(),
            threat=self.threat,
            active=below,
            finished=(lambda values: values == 0) if self.early_stop else None,
        )
        return Perturbed(benign.triplets, images)

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        moved = embed_groups(model, perturbed.images)
        triplet_term = triplet_loss(*moved, margin=MARGIN)
        self._previous_loss = triplet_term.item()
        if self.ics == 0:
            return triplet_term
        anchor, positive = embed_groups(model, batch.images[perturbed.triplets.rows[:, :2]])
        return triplet_term + self.ics * intra_class_structure(anchor, moved[0], positive, margin=self.ics_margin)

    def state(self) -> State:
        return {"previous_loss": torch.tensor(self._previous_loss, dtype=torch.float64)}

    def load_state(self, state: State) -> None:
        self._previous_loss = float(state["previous_loss"])
