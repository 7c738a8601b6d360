"""QA: perturb a query so that a chosen candidate ranks higher or lower in its list.

Zhou et al., ECCV 2020, arXiv:2002.11293.
"""

from __future__ import annotations

from torch import Tensor

from robustbench_dml.attack import Attack, Block, Column, Draws, Gallery, mean_overtaking, random_near, random_other
from robustbench_dml.geometry import pairwise_distance
from robustbench_dml.registry import register_attack

PAPER = "Zhou et al., ECCV 2020, arXiv:2002.11293"


class QueryAttack(Attack):
    """The attacked item is a query, its target a candidate. The value is the candidate's rank percentile."""

    sign: int
    column: str

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        others = pairwise_distance(embeddings, block.gallery.embeddings)[:, None]
        item = block.distance_to_targets(embeddings)
        return mean_overtaking(item, others, block.competing, sign=self.sign)

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {self.column: block.rank_of_target(embeddings).mean(1)}


@register_attack(
    "qa+",
    summary="raise a random candidate in the list of a query",
    paper=PAPER,
    columns=(
        Column(name="QA+", meaning="mean rank percentile; 50 untouched, 0 top", scale=100, ers_slope=2, ers_offset=0),
    ),
)
class RaiseForQuery(QueryAttack):
    """Minimise mean_x max(0, d(q~, c) - d(q~, x)) for a random candidate c."""

    sign = 1
    column = "QA+"

    def choose_targets(self, gallery: Gallery, items: Tensor, draws: Draws) -> Tensor:
        return random_other(gallery, items, draws)


@register_attack(
    "qa-",
    summary="lower a candidate that is near to a query in its list",
    paper=PAPER,
    columns=(Column(name="QA-", meaning="mean rank percentile; 100 bottom", scale=100, ers_slope=-1, ers_offset=100),),
)
class LowerForQuery(QueryAttack):
    """Minimise mean_x max(0, d(q~, x) - d(q~, c)) for a candidate c from the query's nearest 1%."""

    sign = -1
    column = "QA-"

    def choose_targets(self, gallery: Gallery, items: Tensor, draws: Draws) -> Tensor:
        return random_near(gallery, items, draws)
