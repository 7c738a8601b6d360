"""GTM and GTT: attacks on the first place of a query's list.

Zhou et al., T-PAMI 2024, arXiv:2106.03614.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_dml import Attack, Block, Column, Draws, Items, in_chunks, recall_column, register_attack
from robustbench_dml.attacks.query import QueryAttack
from robustbench_dml.retrieval.geometry import LAST_KEY, nearest

PAPER = "Zhou et al., T-PAMI 2024, arXiv:2106.03614"
KEPT = 4  # GTT succeeds where it pushes the first candidate out of the top 4


@register_attack(
    "gtm-published",
    summary="GTM as computed for the papers: towards an arbitrary item",
    paper=PAPER,
    columns=(recall_column("GTM"),),
    arbitrary=True,
)
@register_attack(
    "gtm",
    summary="greedy top-1 misranking: move a query to the nearest item of another class",
    paper=PAPER,
    columns=(recall_column("GTM"),),
)
@dataclass(kw_only=True)
class GreedyMisranking(Attack):
    """Minimise d(q~, u), u the nearest item of another class.

    Attributes:
        arbitrary: choose u as the published code does. It takes the class of the query's first candidate for the
            query's, and u's number among the rows of other classes for a row of the whole gallery. So u is an
            arbitrary item.
    """

    arbitrary: bool = False

    def choose_targets(self, items: Items, draws: Draws) -> Tensor:
        return _misread(items) if self.arbitrary else items.nearest_wrong

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        return block.distance_to_targets(embeddings).squeeze(1)

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {"GTM": block.recall_at_1(embeddings)}


def _misread(items: Items) -> Tensor:
    """(B, 1) number of the nearest wrong row among the wrong rows, by the class of the query's first candidate."""
    gallery, labels = items.gallery, items.gallery.labels

    def number(own: Tensor, first: Tensor) -> Tensor:
        other = labels != labels[first]
        keys = gallery.keys(gallery.embeddings[own]).scatter_(1, own[:, None], LAST_KEY)
        wrong = nearest(keys.masked_fill(~other, LAST_KEY), 1)
        return (other & (torch.arange(len(gallery), device=own.device) < wrong)).sum(1, keepdim=True)

    return in_chunks(number, items.rows, items.nearest[:, :1], width=len(gallery))


@register_attack(
    "gtt",
    summary="greedy top-1 translocation: push the first candidate out of the top 4",
    paper=PAPER,
    columns=(Column(name="GTT", meaning="first candidate still in the top 4", scale=100, ers_slope=1, ers_offset=0),),
    sign=-1,
)
class GreedyTranslocation(QueryAttack):
    """Minimise mean_x max(0, d(q~, x) - d(q~, c)) for the query's first candidate c."""

    def choose_targets(self, items: Items, draws: Draws) -> Tensor:
        return items.nearest[:, :1]

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {"GTT": (block.position_of_target(embeddings).squeeze(1) < KEPT).double()}
