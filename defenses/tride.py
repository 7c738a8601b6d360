"""CA-TRIDE: perturb candidates and anchors in turn, with weights that avoid collapse.

Tian et al., ICML 2024, arXiv:2312.07364.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from robustbench_dml import (
    MARGIN,
    Batch,
    Defense,
    Perturbed,
    State,
    distance,
    embed_groups,
    pgd,
    register_defense,
    shift,
    triplet_loss,
)

CLOSED = 1e-5  # adversary's loss at which it stops
ANCHOR, CANDIDATES = [0], [1, 2]  # columns of a triplet

Objective = Callable[[Tensor, Tensor], Tensor]


@register_defense(
    "ca-tride",
    summary="CA-TRIDE: candidates and anchors perturbed in turn, weighted by collapseness",
    paper="Tian et al., ICML 2024, arXiv:2312.07364",
    sampler="S",
)
@dataclass(kw_only=True)
class CollapseAwareTriplets(Defense):
    """Perturb candidates in one iteration and anchors in the next.

    w(ap) and w(an) are mean distances of the batch with softmax weights of lbd * d. Candidates minimise
    max(0, w(an) - w(ap)). Anchors minimise max(0, w(ap) - w(an)) + g * max(0, n - s), with n the mean distance to the
    nearer half of the negatives, s the mean shift of the anchors, and g = exp(-max(0, w(an) - w(ap))), a constant.

    After the paper's abstract and the authors' released code. Where these are silent or differ, this uses softhard
    triplets, the margin of the other defenses (the code's grows with the epoch), a step that grows with the share of
    the budget spent (the code: of the epochs), and the steps of the threat (the code: 16).

    Attributes:
        lbd: sharpness of the weights. The authors use 10 on CUB, 9.5 on Cars and 2 on SOP.
    """

    lbd: float = 10.0
    _turn: int = field(default=0, init=False, repr=False)

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        triplets, embeddings = self.mine_embedded(model, batch)
        benign = embeddings[triplets.rows]
        threat = self.threat.model_copy(update={"alpha": self.threat.alpha * batch.progress})
        candidates = self._turn % 2 == 0
        self._turn += 1
        images = pgd(
            model,
            batch.images[triplets.rows[:, CANDIDATES if candidates else ANCHOR]],
            self._confuse_candidates(benign) if candidates else self._confuse_anchors(benign),
            threat=threat,
            finished=lambda values: (values.sum() < CLOSED).expand(len(values)),
        )
        return Perturbed(triplets, images)

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        moved, kept = (CANDIDATES, ANCHOR) if perturbed.images.shape[1] == 2 else (ANCHOR, CANDIDATES)
        benign = batch.images[perturbed.triplets.rows[:, kept]]
        parts = dict(zip(moved, embed_groups(model, perturbed.images), strict=True))
        parts |= dict(zip(kept, embed_groups(model, benign), strict=True))
        return triplet_loss(parts[0], parts[1], parts[2], margin=MARGIN)

    def _weighted_gap(self, to_positive: Tensor, to_negative: Tensor) -> Tensor:
        """w(an) - w(ap)."""
        near, far = ((torch.softmax(self.lbd * d, 0) * d).sum() for d in (to_positive, to_negative))
        return far - near

    def _confuse_candidates(self, benign: Tensor) -> Objective:
        def objective(moved: Tensor, _: Tensor) -> Tensor:
            positive, negative = moved.unbind(1)
            gap = self._weighted_gap(distance(benign[:, 0], positive), distance(benign[:, 0], negative))
            return _shared(gap.relu(), len(moved))

        return objective

    def _confuse_anchors(self, benign: Tensor) -> Objective:
        origin, positive, negative = benign.unbind(1)

        def objective(moved: Tensor, _: Tensor) -> Tensor:
            anchor = moved.squeeze(1)
            to_negative = distance(anchor, negative)
            gap = self._weighted_gap(distance(anchor, positive), to_negative)
            nearer = to_negative.topk(max(1, len(to_negative) // 2), largest=False).values.mean()
            leave = (nearer - shift(anchor, origin).mean()).relu()
            return _shared((-gap).relu() + torch.exp(-gap.detach().relu()) * leave, len(moved))

        return objective

    def state(self) -> State:
        return {"turn": torch.tensor(self._turn)}

    def load_state(self, state: State) -> None:
        self._turn = int(state["turn"])


def _shared(value: Tensor, groups: int) -> Tensor:
    """Split a value of the batch into equal shares of the groups, for `pgd`."""
    return (value / groups).expand(groups)
