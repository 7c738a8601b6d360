"""SPQA: perturb a query so that chosen candidates rank higher or lower while the top of its list stays.

Zhou et al., ECCV 2020, arXiv:2002.11293.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_dml import Block, Column, Draws, Items
from robustbench_dml.attacks.query import QueryAttack, named, rank_hinge, register_widths

KEPT = 5  # first candidates of the query's list
STRICTNESS, MOST = 4e4, 1e9  # the published weight of a kept candidate: min(exp(STRICTNESS * its hinge loss), MOST)
TOP = Column(name="kept", meaning="mean rank percentile of the first five", scale=100, ers_slope=-1, ers_offset=100)


@dataclass(kw_only=True)
class SemanticsPreserving(QueryAttack):
    """Minimise the objective of QA plus a weight times that of QA+ for the query's first five candidates.

    The weight grows as the five fall. The published code has one weight for a batch, and a rate for each data set
    (2e4 to 7e4). Here each query has its weight, with the rate of CUB and Fashion-MNIST.
    """

    def choose_targets(self, items: Items, draws: Draws) -> Tensor:
        return torch.cat([super().choose_targets(items, draws), items.nearest[:, :KEPT]], dim=1)

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        moved, kept = block.targets[:, : self.width], block.targets[:, self.width :]
        fallen = rank_hinge(embeddings, block, kept, sign=1)
        weight = (STRICTNESS * fallen.detach()).exp().clamp_max(MOST)
        return rank_hinge(embeddings, block, moved, sign=self.sign) + weight * fallen

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        ranks, name = block.rank_of_target(embeddings), named("SPQA", self.sign, self.width)[1]
        return {name: ranks[:, : self.width].mean(1), f"{name} kept": ranks[:, self.width :].mean(1)}


register_widths(
    SemanticsPreserving,
    "SPQA",
    targets=("a candidate", "candidates"),
    raising="raise {} drawn at random in the list of a query and keep its first five",
    lowering="lower {} drawn from its nearest in the list of a query and keep its first five",
    further=TOP,
)
