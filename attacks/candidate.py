"""CA: perturb a candidate so that it ranks higher or lower for a chosen query.

Zhou et al., ECCV 2020, arXiv:2002.11293.
"""

from __future__ import annotations

from torch import Tensor

from robustbench_dml.attack import Attack, Block, Column, Draws, Gallery, mean_overtaking, random_near, random_other
from robustbench_dml.registry import register_attack

PAPER = "Zhou et al., ECCV 2020, arXiv:2002.11293"


class CandidateAttack(Attack):
    """The attacked item is a candidate, its target the query. The value is the candidate's rank percentile."""

    sign: int
    column: str

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        item = block.distance_to_targets(embeddings)
        return mean_overtaking(item, block.target_distances, block.competing, sign=self.sign)

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {self.column: block.rank_of_item(embeddings).mean(1)}


@register_attack(
    "ca+",
    summary="raise a candidate in the list of a random query",
    paper=PAPER,
    columns=(
        Column(name="CA+", meaning="mean rank percentile; 50 untouched, 0 top", scale=100, ers_slope=2, ers_offset=0),
    ),
)
class RaiseCandidate(CandidateAttack):
    """Minimise mean_x max(0, d(q, c~) - d(q, x)) for a random query q."""

    sign = 1
    column = "CA+"

    def choose_targets(self, gallery: Gallery, items: Tensor, draws: Draws) -> Tensor:
        return random_other(gallery, items, draws)


@register_attack(
    "ca-",
    summary="lower a candidate in the list of a query that it is near to",
    paper=PAPER,
    columns=(Column(name="CA-", meaning="mean rank percentile; 100 bottom", scale=100, ers_slope=-1, ers_offset=100),),
)
class LowerCandidate(CandidateAttack):
    """Minimise mean_x max(0, d(q, x) - d(q, c~)) for a query q from the candidate's nearest 1%."""

    sign = -1
    column = "CA-"

    def choose_targets(self, gallery: Gallery, items: Tensor, draws: Draws) -> Tensor:
        return random_near(gallery, items, draws)
