"""LTM: learning to mis-rank, after Wang et al., CVPR 2020, arXiv:2004.04199."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robustbench_dml import Attack, Block, recall_column, register_attack
from robustbench_dml.retrieval.nearest import RowKind, extreme_rows

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

    The published code leaves the query `itself` among its positives; without that it is left out. A query with no
    other image of its class, or with no image of another one, has no such distances and stays as it is.
    """

    itself: bool = False

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        own = None if self.itself else block.items
        wrong, right = extreme_rows(
            embeddings,
            block.gallery,
            RowKind(labels=block.labels, same=False, farthest=True),
            RowKind(labels=block.labels, same=True, without=own),
        )
        gap = block.distance_to(embeddings, wrong.rows) - block.distance_to(embeddings, right.rows)
        return (gap.relu() * (wrong.exists & right.exists)).squeeze(1)

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {"LTM": block.recall_at_1(embeddings)}
