"""AutoRank: the worst case of every query, and of every planted candidate, over an ensemble of attacks.

After AutoAttack (Croce and Hein, ICML 2020, arXiv:2003.01690), which does this for classifiers. Each attack sees
only what the ones before it did not break, so the whole costs little more than its first attack on a weak model.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from robustbench_dml.attack import Attack, Block, Column, Draws, Items, random_others
from robustbench_dml.attacks.candidate import CandidateAttack
from robustbench_dml.attacks.margin import WrongClass
from robustbench_dml.errors import RbdmlError
from robustbench_dml.optimisers.base import Optimiser, Problem, Restarting
from robustbench_dml.optimisers.ensemble import Ensemble
from robustbench_dml.optimisers.pgd import PGD
from robustbench_dml.optimisers.transfer import Transfer
from robustbench_dml.registry import ATTACKS, register_attack

if TYPE_CHECKING:
    from robustbench_dml.arena import Arena

PAPER = "of this project, after AutoAttack: Croce and Hein, ICML 2020, arXiv:2003.01690"
PUBLISHED = ("es", "ltm", "gtm")  # the published attacks on the first place: never weaker than they are
OBJECTIVES = ("ranking-margin", "es", "smooth-recall", "hardest-margin", "ltm")


@dataclass(frozen=True)
class Stage:
    """One attack of the ensemble.

    Attributes:
        name: by which its targets and its randomness are drawn: those of the attack of that name run by itself.
        attack: what it wants.
        optimiser: how it searches.
        longer: with the ensemble's number of steps instead of the evaluation's.
    """

    name: str
    attack: Attack
    optimiser: Optimiser
    longer: bool = False


@dataclass(kw_only=True)
class Restart(Optimiser):
    """One restart of an optimiser: its ends are judged one by one."""

    of: Restarting
    number: int

    def run(self, problem: Problem) -> Tensor:
        return self.of.attempt(problem, self.number)[0]


class WorstCase(Attack):
    """An ensemble. The value of an item is the lowest that any stage reached; 0 cannot be made worse."""

    searches_with = "ensemble"

    value_column: ClassVar[str]
    drawn_as: ClassVar[str]  # its targets are those of the attack of this name

    @abstractmethod
    def stages(self, ensemble: Ensemble) -> Iterator[Stage]:
        """The attacks in the order in which they are tried."""

    @abstractmethod
    def value(self, embeddings: Tensor, block: Block) -> Tensor:
        """(B, D) attacked embeddings -> (B,) float64 in [0, 1]."""

    def columns_of(self, lowest: Tensor) -> dict[str, Tensor]:
        """The columns from the lowest values."""
        return {self.value_column: lowest}

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        raise RbdmlError("an ensemble has no objective of its own: choose one of its attacks")

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return self.columns_of(self.value(embeddings, block))

    def run(self, arena: Arena, name: str, items: Items) -> dict[str, Tensor]:
        """The columns, and for each item the number of the stage that reached its value (-1: none did)."""
        ensemble = arena.optimiser
        assert isinstance(ensemble, Ensemble)
        judged = arena.block(self, self.drawn_as, items)
        lowest = self.value(judged.own, judged)
        broken_by = torch.full_like(lowest, -1)
        blocks: dict[str, Block] = {}  # stages of one name have one choice of targets, and one set of sorted lists
        for number, stage in enumerate(self.stages(ensemble)):
            alive = lowest.nonzero().squeeze(1)
            if len(alive) == 0:
                break
            if stage.name not in blocks:
                blocks[stage.name] = arena.block(stage.attack, stage.name, items)
            problem = arena.problem(stage.attack, stage.name, blocks[stage.name]).take(alive)
            moved = stage.optimiser.run(ensemble.longer(problem) if stage.longer else problem)
            left = judged.take(alive)
            values = self.value(arena.embed(moved, problem.images, left), left)
            broken_by[alive] = torch.where(values < lowest[alive], number, broken_by[alive])
            lowest[alive] = torch.minimum(values, lowest[alive])
        return {**self.columns_of(lowest), f"{self.value_column} stage": broken_by}


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
        yield Stage("ranking-margin", margin, Transfer(optimiser="apgd"), longer=True)

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
        yield Stage("ca+", near, Transfer(optimiser="apgd"), longer=True)

    def value(self, embeddings: Tensor, block: Block) -> Tensor:
        return block.rank_of_item(embeddings).squeeze(1)

    def columns_of(self, lowest: Tensor) -> dict[str, Tensor]:
        return {"AR:C": lowest, "AR:C1": (lowest <= 0.01).double()}
