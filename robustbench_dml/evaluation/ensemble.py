"""Ensembles of attacks. Each stage attacks only the images that no earlier stage broke."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_dml.evaluation.attack import Attack
from robustbench_dml.evaluation.context import AttackContext
from robustbench_dml.evaluation.corrupted import Corrupted
from robustbench_dml.evaluation.radius import RadiusAttack
from robustbench_dml.retrieval.gallery import Block, Items
from robustbench_dml.solvers.base import Solver
from robustbench_dml.solvers.ensemble import Ensemble
from robustbench_dml.spec.registry import ATTACKS
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.precision import products_in


@dataclass(frozen=True)
class Stage:
    """One attack of an ensemble.

    Attributes:
        name: a registered attack. The stage draws the same targets and random numbers as this attack run alone.
        solver: minimises the objective.
        attack: gives the objective; by default the attack called `name`.
        longer: run the ensemble's number of steps instead of the evaluation's.
    """

    name: str
    solver: Solver
    attack: Attack | None = None
    longer: bool = False


class WorstCase(Attack):
    """An ensemble of attacks. The value of an image is the lowest of all stages; an image at 0 is broken."""

    requires_solver = "ensemble"

    value_column: ClassVar[str]
    drawn_as: ClassVar[str]  # name of the attack whose targets this ensemble shares

    @abstractmethod
    def stages(self, ensemble: Ensemble) -> Iterator[Stage]:
        """Yield the attacks in the order to run them."""

    @abstractmethod
    def value(self, embeddings: Tensor, block: Block) -> Tensor:
        """Map (B, D) attacked embeddings to (B,) float64 values in [0, 1]."""

    def columns_of(self, lowest: Tensor) -> dict[str, Tensor]:
        """Return the columns for the (B,) lowest values."""
        return {self.value_column: lowest}

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        raise RbdmlError("an ensemble has no objective of its own: choose one of its attacks")

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return self.columns_of(self.value(embeddings, block))

    def run(self, context: AttackContext, name: str, items: Items) -> dict[str, Tensor]:
        """Return the columns, and for each image the number of the stage that reached its value (-1: no stage)."""
        ensemble = context.solver
        assert isinstance(ensemble, Ensemble)
        judged = context.block(self, self.drawn_as, items)
        lowest = self.value(judged.benign, judged)
        broken_by = torch.full_like(lowest, -1)
        blocks: dict[str, Block] = {}  # stages with the same name share targets and sorted lists
        for number, stage in enumerate(self.stages(ensemble)):
            alive = lowest.nonzero().squeeze(1)
            if len(alive) == 0:
                break
            attack = stage.attack or ATTACKS.get(stage.name).build()
            if stage.name not in blocks:
                blocks[stage.name] = context.block(attack, stage.name, items)
            problem = context.problem(attack, stage.name, blocks[stage.name]).take(alive)
            moved = stage.solver.run(ensemble.longer(problem) if stage.longer else problem)
            remaining = judged.take(alive)
            values = self.value(context.embed(moved, problem.images, remaining), remaining)
            broken_by[alive] = torch.where(values < lowest[alive], number, broken_by[alive])
            lowest[alive] = torch.minimum(values, lowest[alive])
        return {**self.columns_of(lowest), f"{self.value_column} stage": broken_by}


def run_attack(context: AttackContext, name: str, items: Items) -> dict[str, Tensor]:
    """Attack some images by the stages or the search of their attack, or else by the evaluation's solver.

    Returns:
        (B,) values of each column, and values that are stored per query but stand in no table.
    """
    attack = ATTACKS.get(name).build()
    with products_in(context.evaluation.precision):
        if isinstance(attack, WorstCase | RadiusAttack | Corrupted):
            return attack.run(context, name, items)
        return context.attack(attack, name, items)
