"""Free adversarial training of HM, which the HM paper suggests to lower its cost.

Shafahi et al., NeurIPS 2019, arXiv:1904.12843; Zhou and Patel, CVPR 2022, arXiv:2203.01439.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from robustbench_dml import (
    MARGIN,
    Ball,
    Batch,
    Perturbed,
    RbdmlError,
    State,
    Triplets,
    embed_groups,
    hardness,
    log_value,
    register_defense,
    triplet_loss,
)
from robustbench_dml.defenses.hm.manipulation import HardnessManipulation


@register_defense(
    "hm-free",
    summary="free adversarial training of HM[S,g_LGA]: each batch replayed, one backward for weights and images",
    paper="Shafahi et al., NeurIPS 2019, arXiv:1904.12843; suggested for HM in arXiv:2203.01439",
    sampler="S",
    destination="lga",
)
@dataclass(kw_only=True)
class FreeHardnessManipulation(HardnessManipulation):
    """Take the gradient to the images from the backward that trains the weights.

    Each batch is replayed eta times. A replay steps the images by alpha along the sign of the gradient of the replay
    before. No source gives details, so this project decides the rest:

    - The gradient of the triplet loss replaces that of the hardness, which has the same sign. A triplet without loss
      is not moved, nor is a triplet at its destination.
    - The first replay of a batch chooses triplets and destinations, and starts from benign images.
    - The step is alpha, not the radius as in classification.
    - ICS is not available.
    """

    _kept: State = field(default_factory=dict, init=False, repr=False)
    _images: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ics or self.ics_margin:
            raise RbdmlError("hm-free has no intra-class structure term: leave ics and ics_margin at 0")

    @property
    def replays(self) -> int:
        return max(1, self.threat.steps)

    @property
    def nominal_cost(self) -> int:
        return 1

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        replay = int(self._kept.get("replay", torch.tensor(0)))
        if replay == 0:
            benign, target, _ = self.target(model, batch)
            self._kept = {"rows": benign.triplets.rows, "target": target, "images": benign.images}
        else:
            self._step(batch.images[self._kept["rows"]])
        self._kept["replay"] = torch.tensor((replay + 1) % self.replays)
        return Perturbed(Triplets(*self._kept["rows"].unbind(1)), self._kept["images"])

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        self._images = perturbed.images.detach().requires_grad_()
        moved = embed_groups(model, self._images)
        log_value("destination", self._kept["target"])
        self._kept["below"] = hardness(*moved).detach() < self._kept["target"]
        loss = triplet_loss(*moved, margin=MARGIN)
        self._previous_loss = loss.item()
        return loss

    def _step(self, benign: Tensor) -> None:
        gradient = self._kept["gradient"] if self._images is None else self._images.grad
        assert gradient is not None
        ball = Ball(benign, self.threat)
        step = self.threat.alpha * ball.direction(gradient) * self._kept["below"].view(-1, 1, 1, 1, 1)
        self._kept["images"] = ball.project(self._kept["images"] + step)

    def state(self) -> State:
        kept = {f"kept.{name}": value for name, value in self._kept.items()}
        if self._images is not None and self._images.grad is not None:
            kept["kept.gradient"] = self._images.grad
        return {**super().state(), **kept}

    def load_state(self, state: State) -> None:
        super().load_state(state)
        self._images = None
        self._kept = {name[5:]: value for name, value in state.items() if name.startswith("kept.")}
