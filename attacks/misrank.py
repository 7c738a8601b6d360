"""LTM: learning to mis-rank, after Wang et al., CVPR 2020, arXiv:2004.04199."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_dml.attack import Attack, Block, Column
from robustbench_dml.geometry import pairwise_distance
from robustbench_dml.registry import register_attack


@register_attack(
    "ltm",
    summary="learning to mis-rank: bring every other class nearer than a query's own",
    paper="Wang et al., CVPR 2020, arXiv:2004.04199; as scored in arXiv:2106.03614",
    columns=(Column(name="LTM", meaning="recall at 1 after the attack", scale=100, ers_slope=1, ers_offset=0),),
)
class LearningToMisrank(Attack):
    """Minimise max(0, farthest other-class distance - nearest same-class distance) over the gallery.

    The published code leaves the query itself among its positives; here it is left out. A query with no other
    image of its class has no such distance and stays as it is.
    """

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        d = pairwise_distance(embeddings, block.gallery.embeddings)
        farthest_wrong = d.masked_fill(~block.other_class, -torch.inf).amax(1)
        nearest_right = d.masked_fill(~block.same_class, torch.inf).amin(1)
        return (farthest_wrong - nearest_right).relu()

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {"LTM": block.recall_at_1(embeddings)}
