"""One attack on one image, looked at closely: what it did to the image, and to the list that it is about."""

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

TOP = 8  # places of the list that are shown


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The list of a query.

    Attributes:
        top: gallery rows of its first places, nearest first, ties by row.
        places: the place of each row that is followed, from 1.
    """

    top: tuple[int, ...]
    places: dict[int, int]


@dataclass(frozen=True, kw_only=True)
class AttackTrace:
    """One attack on one image.

    Attributes:
        info: the attack.
        row: the attacked image, by its row in the test split.
        targets: gallery rows that the attack is about.
        query: whose list is shown: the attacked image, or the first target where candidates are attacked.
        followed: rows whose places in the list matter: the targets but for the query, or the attacked candidate.
        labels: the class of every row that is named here.
        images: (2, C, H, W) the attacked image before and after, in [0, 1].
        before: the list before the attack.
        after: the list after it.
        competitors: how many rows the list has.
        values: of each column before and after, in the units of the papers.
        moved: how far the embedding moved, in [0, 2].
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
        """Of any pixel, in [0, 1]."""
        return float((self.images[1] - self.images[0]).abs().max())

    @property
    def length(self) -> float:
        """L2 norm of the perturbation."""
        return float(torch.linalg.vector_norm(self.images[1] - self.images[0]))

    def right(self, row: int) -> bool:
        """Whether a row is of the class of the query whose list is shown."""
        return self.labels[row] == self.labels[self.query]


def trace_attack(arena: AttackContext, name: str, row: int) -> AttackTrace:
    """Attack one image as the evaluation would.

    Args:
        arena: the model, its gallery and the settings.
        name: of the attack.
        row: of the image in the test split.

    Raises:
        RbdmlError: no such image, or an ensemble of attacks.
    """
    info, gallery = ATTACKS.get(name), arena.gallery
    if not 0 <= row < len(gallery):
        raise RbdmlError(f"query {row} is none of '{arena.dataset}': its test images are 0 to {len(gallery) - 1}")
    if issubclass(info.cls, WorstCase):
        raise RbdmlError(f"attack '{name}' is an ensemble of attacks: choose one of them (`rbdml list attacks`)")
    attack = info.build()
    items = Items(gallery, torch.tensor([row], device=gallery.labels.device))
    block = arena.block(attack, name, items)
    problem = arena.problem(attack, name, block)
    with torch.no_grad():
        moved = arena.solver.run(problem)
    embedding = arena.embed(moved, problem.images, block)
    targets = tuple(block.targets[0].tolist())
    others = tuple(one for one in targets if one != row)  # a published attack may aim at the query itself
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
    """The list of `query` when the image in `row` has this (1, D) embedding."""
    own = embedding if query == row else gallery.embeddings[query][None]
    keys = gallery.keys(own)[0]
    if query != row:
        keys[row] = Gallery(embedding, gallery.labels[row : row + 1]).keys(own)[0, 0]
    keys[query] = LAST_KEY
    order = (keys * len(keys) + torch.arange(len(keys), device=keys.device)).argsort()[:-1]
    rows = order.tolist()
    return Ranking(top=tuple(rows[:TOP]), places={one: rows.index(one) + 1 for one in followed})
