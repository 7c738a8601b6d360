"""LTM: learning to mis-rank, after Wang et al., CVPR 2020, arXiv:2004.04199."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robustbench_dml import Attack, Block, recall_column, register_attack
from robustbench_dml.attacks.margin import margin, right_rows, wrong_rows

PAPER = "Wang et al., CVPR 2020, arXiv:2004.04199; as scored in arXiv:2106.03614"


@register_attack(
    "ltm-published",
    summary="LTM as computed for the papers: the query is among its own positives",
    paper=PAPER,
    columns=(recall_column("LTM"),),
    itself=True,
)
@register_attack(
    "ltm",
    summary="learning to mis-rank: bring every other class nearer than a query's own",
    paper=PAPER,
    columns=(recall_column("LTM"),),
)
@dataclass(kw_only=True)
class LearningToMisrank(Attack):
    """Minimise max(0, farthest other-class distance - nearest same-class distance) over the gallery.

    A query with no positive, or with no negative, is not moved.

    Attributes:
        itself: count the query among its own positives, as the published code does.
    """

    itself: bool = False

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        return margin(embeddings, block, wrong_rows(block, farthest=True), right_rows(block, itself=self.itself)).relu()

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {"LTM": block.recall_at_1(embeddings)}
