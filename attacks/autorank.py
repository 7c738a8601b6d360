"""AutoRank: the worst case of every query, and of every planted candidate, over an ensemble of attacks.

After AutoAttack for classifiers (Croce and Hein, ICML 2020, arXiv:2003.01690). Each attack runs only on the images
that no earlier attack broke, so on a weak model the ensemble costs little more than its first attack.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from robustbench_dml import (
    PGD,
    Block,
    Column,
    Draws,
    Ensemble,
    Items,
    Stage,
    Transfer,
    WorstCase,
    random_others,
    register_attack,
)
from robustbench_dml.attacks.candidate import CandidateAttack
from robustbench_dml.attacks.margin import WrongClass

PAPER = "of this project, after AutoAttack: Croce and Hein, ICML 2020, arXiv:2003.01690"
PUBLISHED = ("es", "ltm", "gtm")  # the published attacks on the first place
OBJECTIVES = ("ranking-margin", "es", "smooth-recall", "hardest-margin", "ltm")


@register_attack(
    "worst-query",
    summary="worst case of every query: recall at 1 over an ensemble of attacks on the query",
    paper=PAPER,
    columns=(Column(name="AR:Q", meaning="recall at 1 in the worst case", scale=100, ers_slope=1, ers_offset=0),),
)
class WorstQuery(WorstCase):
    """Runs published PGD, APGD with restarts on every objective, Square on the ranking margin, and transfer."""

    value_column = "AR:Q"
    drawn_as = "worst-query"

    def stages(self, ensemble: Ensemble) -> Iterator[Stage]:
        for name in PUBLISHED:
            yield Stage(name, PGD())
        for restart in range(ensemble.restarts):
            apgd = ensemble.apgd_restart(restart)
            for name in OBJECTIVES:
                yield Stage(name, apgd, longer=True)
            for place in range(ensemble.classes):
                yield Stage(f"wrong-class {place}", apgd, WrongClass(place=place), longer=True)
        yield Stage("ranking-margin", ensemble.square)
        for name in PUBLISHED:
            yield Stage(name, Transfer())
        yield Stage("ranking-margin", Transfer(solver="apgd"), longer=True)

    def value(self, embeddings: Tensor, block: Block) -> Tensor:
        return block.recall_at_1(embeddings)


class Nearness(CandidateAttack):
    """Minimise d(q, c~). The list does not change, so a nearer candidate always ranks higher."""

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
    """Runs published CA+, APGD with restarts on CA+ and on the distance, Square on the distance, and transfer."""

    value_column = "AR:C"
    drawn_as = "ca+"

    def choose_targets(self, items: Items, draws: Draws) -> Tensor:
        return random_others(items, draws)

    def stages(self, ensemble: Ensemble) -> Iterator[Stage]:
        nearness = Nearness()
        yield Stage("ca+", PGD())
        for restart in range(ensemble.restarts):
            apgd = ensemble.apgd_restart(restart)
            yield Stage("ca+", apgd, nearness, longer=True)
            yield Stage("ca+", apgd, longer=True)
        yield Stage("ca+", ensemble.square, nearness)
        yield Stage("ca+", Transfer())
        yield Stage("ca+", Transfer(solver="apgd"), nearness, longer=True)

    def value(self, embeddings: Tensor, block: Block) -> Tensor:
        return block.rank_of_item(embeddings).squeeze(1)

    def columns_of(self, lowest: Tensor) -> dict[str, Tensor]:
        return {"AR:C": lowest, "AR:C1": (lowest <= 0.01).double()}
