"""AutoRank: the worst case of every query, and of every planted candidate, over an ensemble of attacks.

After AutoAttack (Croce and Hein, ICML 2020, arXiv:2003.01690), which does this for classifiers. Each attack sees
only what the ones before it did not break, so the whole costs little more than its first attack on a weak model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from robustbench_dml import Block, Column, Draws, Items, Stage, WorstCase, random_others, register_attack
from robustbench_dml.attacks.candidate import CandidateAttack
from robustbench_dml.attacks.margin import WrongClass
from robustbench_dml.evaluation.ensemble import Restart
from robustbench_dml.solvers.ensemble import Ensemble
from robustbench_dml.solvers.pgd import PGD
from robustbench_dml.solvers.transfer import Transfer
from robustbench_dml.spec.registry import ATTACKS

if TYPE_CHECKING:
    pass

PAPER = "of this project, after AutoAttack: Croce and Hein, ICML 2020, arXiv:2003.01690"
PUBLISHED = ("es", "ltm", "gtm")  # the published attacks on the first place: never weaker than they are
OBJECTIVES = ("ranking-margin", "es", "smooth-recall", "hardest-margin", "ltm")


@register_attack(
    "worst-query",
    summary="worst case of every query: recall at 1 over an ensemble of attacks on the query",
    paper=PAPER,
    columns=(Column(name="AR:Q", meaning="recall at 1 in the worst case", scale=100, ers_slope=1, ers_offset=0),),
)
class WorstQuery(WorstCase):
    """PGD as published, APGD on every objective with restarts, Square on the ranking margin, transfer."""

    value_column = "AR:Q"
    drawn_as = "worst-query"

    def stages(self, ensemble: Ensemble) -> Iterator[Stage]:
        for name in PUBLISHED:
            yield Stage(name, ATTACKS.get(name).build(), PGD())
        for restart in range(ensemble.restarts):
            search = Restart(of=ensemble.apgd, number=restart)
            for name in OBJECTIVES:
                yield Stage(name, ATTACKS.get(name).build(), search, longer=True)
            for place in range(ensemble.classes):
                yield Stage(f"wrong-class {place}", WrongClass(place=place), search, longer=True)
        margin = ATTACKS.get("ranking-margin").build()
        yield Stage("ranking-margin", margin, ensemble.square)
        for name in PUBLISHED:
            yield Stage(name, ATTACKS.get(name).build(), Transfer())
        yield Stage("ranking-margin", margin, Transfer(solver="apgd"), longer=True)

    def value(self, embeddings: Tensor, block: Block) -> Tensor:
        return block.recall_at_1(embeddings)


class Nearness(CandidateAttack):
    """Minimise d(q, c~): in a list that stays as it is, nearer is always higher."""

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        return block.distance_to_targets(embeddings).mean(1)


@register_attack(
    "worst-candidate",
    summary="worst case of every planted candidate: its rank for a random query over an ensemble of attacks on it",
    paper=PAPER,
    columns=(
        Column(
            name="AR:C",
            meaning="rank percentile of a planted candidate in the worst case; 50 untouched, 0 top",
            scale=100,
            ers_slope=2,
            ers_offset=0,
        ),
        Column(
            name="AR:C1",
            meaning="planted candidates that reach the first 1% in the worst case",
            scale=100,
            ers_slope=-1,
            ers_offset=100,
        ),
    ),
)
class WorstCandidate(WorstCase):
    """CA+ as published, APGD on CA+ and on the distance with restarts, Square on the distance, transfer."""

    value_column = "AR:C"
    drawn_as = "ca+"

    def choose_targets(self, items: Items, draws: Draws) -> Tensor:
        return random_others(items, draws)

    def stages(self, ensemble: Ensemble) -> Iterator[Stage]:
        ahead, near = ATTACKS.get("ca+").build(), Nearness()
        yield Stage("ca+", ahead, PGD())
        for restart in range(ensemble.restarts):
            search = Restart(of=ensemble.apgd, number=restart)
            yield Stage("ca+", near, search, longer=True)
            yield Stage("ca+", ahead, search, longer=True)
        yield Stage("ca+", near, ensemble.square)
        yield Stage("ca+", ahead, Transfer())
        yield Stage("ca+", near, Transfer(solver="apgd"), longer=True)

    def value(self, embeddings: Tensor, block: Block) -> Tensor:
        return block.rank_of_item(embeddings).squeeze(1)

    def columns_of(self, lowest: Tensor) -> dict[str, Tensor]:
        return {"AR:C": lowest, "AR:C1": (lowest <= 0.01).double()}
