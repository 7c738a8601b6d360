"""CA: perturb a candidate so that it ranks higher or lower for chosen queries.

Zhou et al., ECCV 2020, arXiv:2002.11293.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustbench_dml import Attack, Block, Draws, Items, random_near, random_others
from robustbench_dml.attacks.query import named, register_widths


@dataclass(kw_only=True)
class CandidateAttack(Attack):
    """Move the attacked candidate in the lists of W queries, its targets. The value is its rank percentile.

    Attributes:
        width: W, the number of queries.
        sign: 1 raises the candidate, -1 lowers it.
        near: draw the queries from the candidate's nearest 1% instead of the whole gallery.
    """

    of_candidate: ClassVar[bool] = True

    width: int = 1
    sign: int = 1
    near: bool = False

    def choose_targets(self, items: Items, draws: Draws) -> Tensor:
        return (random_near if self.near else random_others)(items, draws, width=self.width)

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        item = block.distance_to_targets(embeddings)
        return block.target_lists.mean_rank_hinge(item, block.list_rows, sign=self.sign)

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {named("CA", self.sign, self.width)[1]: block.rank_of_item(embeddings).mean(1)}


register_widths(
    CandidateAttack,
    "CA",
    targets=("a query", "queries"),
    raising="raise a candidate for {} drawn at random",
    lowering="lower a candidate for {} drawn from its nearest",
)
