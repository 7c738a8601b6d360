"""FOA and SPFOA: perturb a query so that its first candidates come in another order (arXiv:2103.05248)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_dml import Attack, Block, Column, Draws, Items, register_attack
from robustbench_dml.attacks.query import rank_hinge

PAPER = "Zhou et al., ICCV 2021, arXiv:2103.05248"
CANDIDATES = 5  # of the query's list, from the first
KEEPING = 100.0  # weight of the hinge loss of QA+ in SPFOA
MEANING = "Kendall's tau with the wanted order; 0 untouched, 1 reached"
TAU = Column(name="FOA", meaning=MEANING, scale=1, ers_slope=-100, ers_offset=100)
KEPT = Column(name="SPFOA kept", meaning="mean rank percentile of the five", scale=100, ers_slope=-1, ers_offset=100)


@register_attack("foa", summary="put the first five of a query's list into a random order", paper=PAPER, columns=(TAU,))
@register_attack(
    "spfoa",
    summary="put the first five of a query's list into a random order, and keep them first",
    paper=PAPER,
    columns=(TAU.named("SPFOA"), KEPT),
    keeping=KEEPING,
)
@dataclass(kw_only=True)
class FakeOrder(Attack):
    """Minimise the mean of max(0, d(q~, c_i) - d(q~, c_j)) over the pairs in which c_i is to come before c_j.

    Attributes:
        keeping: weight of the hinge loss of QA+ on the candidates, which keeps them first.
    """

    keeping: float = 0.0

    def choose_targets(self, items: Items, draws: Draws) -> Tensor:
        first = items.nearest[:, :CANDIDATES]
        return first.gather(1, draws(first.shape[1]).argsort(1).to(first.device))

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        wrong = _in_pairs(block.distance_to_targets(embeddings)).relu().mean(1)
        return wrong + self.keeping * rank_hinge(embeddings, block, block.targets, sign=1) if self.keeping else wrong

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        tau = -_in_pairs(block.position_of_target(embeddings)).sign().double().mean(1)
        if not self.keeping:
            return {"FOA": tau}
        return {"SPFOA": tau, "SPFOA kept": block.rank_of_target(embeddings).mean(1)}


def _in_pairs(values: Tensor) -> Tensor:
    """(B, W) -> (B, W (W - 1) / 2) differences of the earlier and the later of all pairs."""
    width = values.shape[1]
    earlier, later = torch.triu_indices(width, width, 1, device=values.device)
    return values[:, earlier] - values[:, later]
