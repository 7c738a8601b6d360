"""Ensembles of attacks: stages that see what the ones before them did not break."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_dml.evaluation.attack import Attack, Block, Items
from robustbench_dml.evaluation.context import AttackContext
from robustbench_dml.solvers.base import Problem, Restarting, Solver
from robustbench_dml.solvers.ensemble import Ensemble
from robustbench_dml.utils.errors import RbdmlError


@dataclass(frozen=True)
class Stage:
    """One attack of the ensemble.

    Attributes:
        name: by which its targets and its randomness are drawn: those of the attack of that name run by itself.
        attack: what it wants.
        solver: how it searches.
        longer: with the ensemble's number of steps instead of the evaluation's.
    """

    name: str
    attack: Attack
    solver: Solver
    longer: bool = False


@dataclass(kw_only=True)
class Restart(Solver):
    """One restart of a solver: its ends are judged one by one."""

    of: Restarting
    number: int

    def run(self, problem: Problem) -> Tensor:
        return self.of.attempt(problem, self.number)[0]


class WorstCase(Attack):
    """An ensemble. The value of an item is the lowest that any stage reached; 0 cannot be made worse."""

    requires_solver = "ensemble"

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

    def run(self, arena: AttackContext, name: str, items: Items) -> dict[str, Tensor]:
        """The columns, and for each item the number of the stage that reached its value (-1: none did)."""
        ensemble = arena.solver
        assert isinstance(ensemble, Ensemble)
        judged = arena.block(self, self.drawn_as, items)
        lowest = self.value(judged.benign, judged)
        broken_by = torch.full_like(lowest, -1)
        blocks: dict[str, Block] = {}  # stages of one name have one choice of targets, and one set of sorted lists
        for number, stage in enumerate(self.stages(ensemble)):
            alive = lowest.nonzero().squeeze(1)
            if len(alive) == 0:
                break
            if stage.name not in blocks:
                blocks[stage.name] = arena.block(stage.attack, stage.name, items)
            problem = arena.problem(stage.attack, stage.name, blocks[stage.name]).take(alive)
            moved = stage.solver.run(ensemble.longer(problem) if stage.longer else problem)
            left = judged.take(alive)
            values = self.value(arena.embed(moved, problem.images, left), left)
            broken_by[alive] = torch.where(values < lowest[alive], number, broken_by[alive])
            lowest[alive] = torch.minimum(values, lowest[alive])
        return {**self.columns_of(lowest), f"{self.value_column} stage": broken_by}
