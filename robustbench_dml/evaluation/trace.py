"""A trace of one attack on one image: the change of the image and of the ranking that it attacks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_dml.evaluation.context import AttackContext
from robustbench_dml.evaluation.ensemble import WorstCase
from robustbench_dml.retrieval.gallery import Gallery, Items
from robustbench_dml.retrieval.geometry import LAST_KEY, distance
from robustbench_dml.spec.registry import ATTACKS, AttackInfo
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.precision import products_in

TOP = 8  # rows of the ranking that are shown


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The ranking of a query.

    Attributes:
        top: the first gallery rows, nearest first, ties by row.
        places: the rank of each followed row, from 1.
    """

    top: tuple[int, ...]
    places: dict[int, int]


@dataclass(frozen=True, kw_only=True)
class AttackTrace:
    """One attack on one image.

    Attributes:
        info: the attack.
        row: row of the attacked image in the test split.
        targets: gallery rows of the attack's targets.
        query: the query of the ranking: the attacked image, or the first target if a candidate is attacked.
        followed: rows whose ranks are reported: the targets except the query, or the attacked candidate.
        labels: the class of every row named here.
        images: (2, C, H, W) the attacked image before and after, in [0, 1].
        before: the ranking before the attack.
        after: the ranking after the attack.
        competitors: number of rows in the ranking.
        values: each column before and after, in the papers' units.
        moved: distance that the embedding moved, in [0, 2].
    """

    info: AttackInfo
    row: int
    targets: tuple[int, ...]
    query: int
    followed: tuple[int, ...]
    labels: dict[int, int]
    images: Tensor
    before: Ranking
    after: Ranking
    competitors: int
    values: dict[str, tuple[float, float]]
    moved: float

    @property
    def largest_change(self) -> float:
        """Largest change of a pixel, in [0, 1]."""
        return float((self.images[1] - self.images[0]).abs().max())

    @property
    def length(self) -> float:
        """L2 norm of the perturbation."""
        return float(torch.linalg.vector_norm(self.images[1] - self.images[0]))

    def right(self, row: int) -> bool:
        """Return True if the row is of the query's class."""
        return self.labels[row] == self.labels[self.query]


def trace_attack(context: AttackContext, name: str, row: int) -> AttackTrace:
    """Attack one image as the evaluation would.

    Args:
        context: the model under its evaluation.
        name: name of the attack.
        row: row of the image in the test split.

    Raises:
        RbdmlError: no such image, or an ensemble of attacks.
    """
    info, gallery = ATTACKS.get(name), context.gallery
    if not 0 <= row < len(gallery):
        raise RbdmlError(f"query {row} is none of '{context.dataset}': its test images are 0 to {len(gallery) - 1}")
    if issubclass(info.cls, WorstCase):
        raise RbdmlError(f"attack '{name}' is an ensemble of attacks: choose one of them (`rbdml list attacks`)")
    attack = info.build()
    items = Items(gallery, torch.tensor([row], device=gallery.labels.device))
    block = context.block(attack, name, items)
    problem = context.problem(attack, name, block)
    with torch.no_grad(), products_in(context.evaluation.precision):
        moved = (attack.own_solver or context.solver).run(problem)
    embedding = context.embed(moved, problem.images, block)
    targets = tuple(block.targets[0].tolist())
    others = tuple(one for one in targets if one != row)  # a published attack may target the query itself
    query, followed = (targets[0], (row,)) if attack.of_candidate else (row, others)
    before, after = (_ranking(gallery, row, one, query=query, followed=followed) for one in (block.benign, embedding))
    named = {row, *targets, *before.top, *after.top}
    scores = [attack.score(one, block) for one in (block.benign, embedding)]
    return AttackTrace(
        info=info,
        row=row,
        targets=targets,
        query=query,
        followed=followed,
        labels={one: int(gallery.labels[one]) for one in sorted(named)},
        images=torch.cat([problem.images, moved]).cpu(),
        before=before,
        after=after,
        competitors=len(gallery) - 1,
        values={
            column.name: (
                column.published(float(scores[0][column.name])),
                column.published(float(scores[1][column.name])),
            )
            for column in info.columns
        },
        moved=float(distance(embedding.double(), block.benign.double())),
    )


def _ranking(gallery: Gallery, row: int, embedding: Tensor, *, query: int, followed: tuple[int, ...]) -> Ranking:
    """The ranking of `query` when the image in `row` has this (1, D) embedding."""
    own = embedding if query == row else gallery.embeddings[query][None]
    keys = gallery.keys(own)[0]
    if query != row:
        keys[row] = Gallery(embedding, gallery.labels[row : row + 1]).keys(own)[0, 0]
    keys[query] = LAST_KEY
    order = (keys * len(keys) + torch.arange(len(keys), device=keys.device)).argsort()[:-1]
    rows = order.tolist()
    return Ranking(top=tuple(rows[:TOP]), places={one: rows.index(one) + 1 for one in followed})
