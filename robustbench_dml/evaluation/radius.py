"""Attacks for the least radius that breaks an item, image by image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from robustbench_dml.evaluation.attack import Attack
from robustbench_dml.evaluation.context import AttackContext
from robustbench_dml.retrieval.gallery import Block, Items
from robustbench_dml.solvers.base import Problem
from robustbench_dml.solvers.least_radii import LeastRadii
from robustbench_dml.solvers.minimal_radius import MinimalRadius
from robustbench_dml.solvers.shrinking_ball import shrink
from robustbench_dml.solvers.transfer import Transfer
from robustbench_dml.spec.schema import Evaluation

BELOW = 1 / 32  # searches at a fixed radius go below the least radius by this share
GAINED = 0.01  # a round must lower a radius by this share, or the next rounds skip the image


@dataclass(frozen=True)
class Descent:
    """One descent of a round.

    Attributes:
        name: name of an attack. The descent draws the same targets as this attack run alone.
        attack: the attack that gives the objective.
        start: first image: the nearest broken image, the benign image, a random image, or an image towards a guide.
        factor: first radius, as a multiple of the least known radius.
        guide: number of the guide.
    """

    name: str
    attack: Attack
    start: Literal["best", "benign", "random", "guide"]
    factor: float = 1
    guide: int = 0


class RadiusAttack(Attack):
    """The value of an item is the least radius that breaks the item.

    It is 0 for an item that is broken without an attack, and the threat's radius for an item that stays unbroken.

    The objective is the margin: below 0 where the item is broken.
    """

    requires_solver = "minimal-radius"

    value_column: ClassVar[str]
    drawn_as: ClassVar[str]  # name of the attack whose targets this attack shares

    @abstractmethod
    def broken(self, embeddings: Tensor, block: Block) -> Tensor:
        """(B, D) attacked embeddings -> (B,) bool, by exact ranks."""

    @abstractmethod
    def descents(self, turn: int) -> Iterator[Descent]:
        """The descents of a round, counted from 0, in their order."""

    def columns_of(self, radii: Tensor, evaluation: Evaluation) -> dict[str, Tensor]:
        """The columns from the (B,) radii."""
        return {self.value_column: radii}

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        """Score embeddings of unknown radius: 0 where the item is broken, else infinite."""
        return {self.value_column: torch.where(self.broken(embeddings, block), 0.0, torch.inf).double()}

    def passes(self, solver: MinimalRadius, cap: float, *, transfers: bool) -> float:
        """Upper bound on the passes for one item."""
        below = (solver.square_queries + 1) / 3 + (solver.steps + 1 if transfers else 0)
        descents = sum(len(list(self.descents(turn))) for turn in range(solver.rounds))
        return solver.blend_passes(cap) + descents * (solver.steps + 1 / 3) + solver.rounds * below

    def run(self, context: AttackContext, name: str, items: Items) -> dict[str, Tensor]:
        """The columns, and for each item the number of the stage that found its radius (-1: no stage)."""
        intact, least = self.search(context, items)
        radii = torch.zeros(len(items), dtype=torch.float64, device=items.rows.device)
        stage = torch.full_like(radii, -1)
        radii[intact], stage[intact] = least.reach, least.stage
        return {**self.columns_of(radii, context.evaluation), f"{self.value_column} stage": stage}

    @torch.no_grad()
    def search(self, context: AttackContext, items: Items) -> tuple[Tensor, LeastRadii]:
        """The (n,) items that are not broken without an attack, and their least radii with images."""
        solver = context.solver
        assert isinstance(solver, MinimalRadius)
        block = context.block(self, self.drawn_as, items)
        intact = (~self.broken(block.benign, block)).nonzero().squeeze(1)
        search = _Search(self, context, items, block, intact)
        return intact, search.run(solver) if len(intact) else search.least


class _Search:
    """The search for the least radii of some items of a block."""

    def __init__(
        self, attack: RadiusAttack, context: AttackContext, items: Items, block: Block, intact: Tensor
    ) -> None:
        self._attack, self._context, self._items, self._intact = attack, context, items, intact
        self._block = block.take(intact)
        self._problem = context.problem(attack, attack.drawn_as, block).take(intact)
        threat = context.evaluation.threat
        self.least = LeastRadii(self._problem.images, threat.norm, threat.eps, self._judge)
        self._problems: dict[str, Problem] = {}  # descents with the same name share targets

    def run(self, solver: MinimalRadius) -> LeastRadii:
        """Search in all stages."""
        least, rows = self.least, self._problem.rows
        solver.blend(self._problem, least)
        stage = 1
        for turn in range(solver.rounds):
            before = least.reach
            for descent in self._attack.descents(turn):
                self._descend(descent, rows, solver.steps, stage)
                stage += 1
            stage = self._search_below(rows, solver, stage)
            rows = rows[least.reach[rows] < (1 - GAINED) * before[rows]]
            if len(rows) == 0:
                break
        return least

    def _judge(self, images: Tensor, rows: Tensor) -> Tensor:
        block = self._block.take(rows)
        return self._attack.broken(self._context.embed(images, self.least.benign[rows], block), block)

    def _descend(self, descent: Descent, rows: Tensor, steps: int, stage: int) -> None:
        if descent.name not in self._problems:
            block = self._context.block(descent.attack, descent.name, self._items)
            whole = self._context.problem(descent.attack, descent.name, block).take(self._intact)
            self._problems[descent.name] = whole
        part, least = self._problems[descent.name].take(rows), self.least
        start = self._start(descent, rows, stage)

        def margin(embeddings: Tensor, own: Tensor) -> Tensor:
            return self._problem.objective(embeddings, rows[own])

        watched = None if descent.attack is self._attack and descent.name == self._attack.drawn_as else margin
        shrink(part, least, rows, watched, start, factor=descent.factor, steps=steps, stage=stage)

    def _start(self, descent: Descent, rows: Tensor, stage: int) -> Tensor:
        part, least = self._problem.take(rows), self.least
        if descent.start == "best":
            return least.images[rows]
        if descent.start == "random":
            radii = (descent.factor * least.reach[rows]).clamp_max(least.cap)
            return part.within(radii, steps=1).start(stage, random=True)
        guides = part.guides() if descent.start == "guide" and part.guides is not None else None
        return part.images if guides is None else guides[descent.guide % len(guides)]

    def _search_below(self, rows: Tensor, solver: MinimalRadius, stage: int) -> int:
        """Square and transfer, a little below the least radii; returns the number of the next stage."""
        searches = [solver.square, *([Transfer(solver="apgd")] if self._problem.surrogate is not None else [])]
        for number, search in enumerate(searches, start=stage):
            part = replace(self._problem.take(rows), key=(*self._problem.key, number))
            below = part.within(self.least.reach[rows] * (1 - BELOW), steps=solver.steps)
            self.least.offer(search.run(below), rows, number)
        return stage + 2  # with or without a surrogate: random starts depend on the number
