"""LIST: push the first list of a query out of sight, by returned lists alone.

After Li et al., CVPR 2021, arXiv:2103.02927.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from robustbench_dml import Attack, Block, Draws, Items, Solver, Square, in_chunks, recall_column, register_attack
from robustbench_dml.retrieval.geometry import LAST_KEY, nearest


@register_attack(
    "list",
    summary="decision-based: push a query's first list out of sight, seeing lists alone, no distances",
    paper="after Li et al., CVPR 2021, arXiv:2103.02927, by the search of arXiv:1912.00049",
    columns=(recall_column("LIST"),),
)
class ReturnedLists(Attack):
    """Minimise the relevance of the returned list, whose length is 1% of the gallery, at least ten.

    An item of the first list is worth more the earlier it stood there, and counts less the later it is returned. The
    objective has no gradient, so Square searches.
    """

    own_solver: ClassVar[Solver | None] = Square(queries=1000)

    def choose_targets(self, items: Items, draws: Draws) -> Tensor:
        return items.nearest

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        gallery, length = block.gallery, block.targets.shape[1]
        places = torch.arange(length, device=block.items.device)
        worth, seen = 1 - places / length, 1 / (places + 2.0).log2()

        def relevance(moved: Tensor, own: Tensor, first: Tensor) -> Tensor:
            returned = nearest(gallery.keys(moved).scatter_(1, own[:, None], LAST_KEY), length)
            same = (returned[:, :, None] == first[:, None]).to(seen)
            return torch.einsum("brf,r,f->b", same, seen, worth)

        return in_chunks(relevance, embeddings.detach(), block.items, block.targets, width=len(gallery) + length**2)

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {"LIST": block.recall_at_1(embeddings)}
