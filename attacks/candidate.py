"""CA: perturb a candidate so that it ranks higher or lower for chosen queries.

Zhou et al., ECCV 2020, arXiv:2002.11293.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustbench_dml import Attack, Block, Draws, Items, random_near, random_others, register_attack
from robustbench_dml.attacks.query import LOWER, PAPER, RAISE, WIDTHS, named


@dataclass(kw_only=True)
class CandidateAttack(Attack):
    """The attacked item is a candidate, its targets are W queries. The value is the candidate's rank percentile."""

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


for width in WIDTHS:
    several = "a query" if width == 1 else f"{width} queries"
    for sign, how, shape in (
        (1, "raise a candidate for {} drawn at random", RAISE),
        (-1, "lower a candidate for {} drawn from its nearest", LOWER),
    ):
        name, column = named("CA", sign, width)
        register_attack(
            name,
            summary=how.format(several),
            paper=PAPER,
            columns=(shape.named(column),),
            width=width,
            sign=sign,
            near=sign < 0,
        )(CandidateAttack)
