"""GTM and GTT: attacks on the first place of a query's list.

Zhou et al., T-PAMI 2024, arXiv:2106.03614.
"""

from __future__ import annotations

from torch import Tensor

from robustbench_dml.attack import Attack, Block, Column, Draws, Gallery, nearest_others, nearest_wrong
from robustbench_dml.attacks.query import QueryAttack
from robustbench_dml.registry import register_attack

PAPER = "Zhou et al., T-PAMI 2024, arXiv:2106.03614"
KEPT = 4  # GTT succeeds where it pushes the first candidate out of the top 4


@register_attack(
    "gtm",
    summary="greedy top-1 misranking: move a query to the nearest item of another class",
    paper=PAPER,
    columns=(Column(name="GTM", meaning="recall at 1 after the attack", scale=100, ers_slope=1, ers_offset=0),),
)
class GreedyMisranking(Attack):
    """Minimise d(q~, u), u the nearest item of another class.

    The published code takes u's place among the other-class items for its place in the whole gallery, which
    makes u an arbitrary item; this is the definition.
    """

    def choose_targets(self, gallery: Gallery, items: Tensor, draws: Draws) -> Tensor:
        return nearest_wrong(gallery, items)

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        return block.distance_to_targets(embeddings).squeeze(1)

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {"GTM": block.recall_at_1(embeddings)}


@register_attack(
    "gtt",
    summary="greedy top-1 translocation: push the first candidate out of the top 4",
    paper=PAPER,
    columns=(Column(name="GTT", meaning="first candidate still in the top 4", scale=100, ers_slope=1, ers_offset=0),),
)
class GreedyTranslocation(QueryAttack):
    """Minimise mean_x max(0, d(q~, x) - d(q~, c)) for the query's own first candidate c."""

    sign = -1

    def choose_targets(self, gallery: Gallery, items: Tensor, draws: Draws) -> Tensor:
        return nearest_others(gallery, items, 1)

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {"GTT": (block.place_of_target(embeddings).squeeze(1) < KEPT).double()}
