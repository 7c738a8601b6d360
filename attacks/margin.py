"""Objectives for the first place of a query's list, over the whole gallery: what AutoRank attacks with.

Each can be run by itself (`--also ranking-margin`). Their common idea, a margin between the nearest right and the
nearest wrong item, is that of the attacks on classifiers of Carlini and Wagner, S&P 2017, arXiv:1608.04644.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from robustbench_dml import Attack, Block, Draws, Gallery, Items, recall_column, register_attack
from robustbench_dml.retrieval.gallery import in_chunks
from robustbench_dml.retrieval.geometry import LAST_KEY
from robustbench_dml.retrieval.nearest import ExtremeRows, RowKind, extreme_rows

PAPER = "of this project, after Carlini and Wagner, S&P 2017, arXiv:1608.04644"
TEMPERATURE = 0.05  # of the smooth recall, in units of distance
CONSIDERED = 32  # nearest rows of either kind that the smooth recall looks at


class FirstPlace(Attack):
    """Wants another class in the first place of a query's list. A query with no other image of its class stays."""

    column: str

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {self.column: block.recall_at_1(embeddings)}


@register_attack(
    "ranking-margin",
    summary="bring the nearest wrong item before the nearest right one, both as they are at every step",
    paper=PAPER,
    columns=(recall_column("RM"),),
)
class RankingMargin(FirstPlace):
    """Minimise d(q~, nearest wrong) - d(q~, nearest right): below 0 the first place is lost."""

    column = "RM"

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        return margin(embeddings, block, wrong_rows(block), right_rows(block))


@register_attack(
    "hardest-margin",
    summary="bring the nearest wrong item (hardest negative) before the farthest right one (hardest positive)",
    paper=PAPER,
    columns=(recall_column("HM"),),
)
class HardestMargin(FirstPlace):
    """Minimise d(q~, nearest wrong) - d(q~, farthest right)."""

    column = "HM"

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        return margin(embeddings, block, wrong_rows(block), right_rows(block, farthest=True))


@register_attack(
    "smooth-recall",
    summary="lower the probability that the first item is right, if items are drawn by a softmax of their distances",
    paper=PAPER,
    columns=(recall_column("SR"),),
)
class SmoothRecall(FirstPlace):
    """Minimise log sum_right exp(-d / 0.05) - log sum_wrong exp(-d / 0.05) over the 32 nearest of either kind."""

    column = "SR"

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        kinds = right_rows(block, k=CONSIDERED), wrong_rows(block, k=CONSIDERED)
        right, wrong = extreme_rows(embeddings, block.gallery, *kinds)
        there = right.exists[:, 0] & wrong.exists[:, 0]
        return (_softness(embeddings, block, right) - _softness(embeddings, block, wrong)) * there


@register_attack(
    "wrong-class",
    summary="bring the nearest item of the nearest wrong class before the nearest right one",
    paper=PAPER,
    columns=(recall_column("WC"),),
)
@dataclass(kw_only=True)
class WrongClass(FirstPlace):
    """Minimise d(q~, nearest of the chosen class) - d(q~, nearest right); `place` 0 chooses the nearest class."""

    column = "WC"
    place: int = 0

    def choose_targets(self, items: Items, draws: Draws) -> Tensor:
        return nearest_wrong_classes(items, self.place + 1)[:, self.place :]

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        chosen = block.gallery.labels[block.targets[:, 0]]
        return margin(embeddings, block, RowKind(labels=chosen, same=True), right_rows(block))


def right_rows(block: Block, *, farthest: bool = False, k: int = 1) -> RowKind:
    """The nearest or farthest rows of the queries' classes, without their own."""
    return RowKind(labels=block.labels, same=True, farthest=farthest, without=block.items, k=k)


def wrong_rows(block: Block, *, k: int = 1) -> RowKind:
    """The nearest rows of other classes."""
    return RowKind(labels=block.labels, same=False, k=k)


def margin(embeddings: Tensor, block: Block, wrong: RowKind, right: RowKind) -> Tensor:
    """(B,) distance to the wrong item minus that to the right one, 0 without gradient where one is missing."""
    far, near = extreme_rows(embeddings, block.gallery, wrong, right)
    gap = block.distance_to(embeddings, far.rows) - block.distance_to(embeddings, near.rows)
    return (gap * (far.exists & near.exists)).squeeze(1)


def nearest_wrong_classes(items: Items, k: int) -> Tensor:
    """(B, k) the nearest row of each of the k nearest wrong classes, nearest first; where classes are too few, the
    last one again."""
    gallery = items.gallery
    classes, number = gallery.labels.unique(return_inverse=True)
    find = partial(_nearest_of_classes, gallery, number, len(classes), k)
    return in_chunks(find, gallery.embeddings[items.rows], number[items.rows], width=2 * len(gallery))


def _nearest_of_classes(
    gallery: Gallery, number: Tensor, classes: int, k: int, embeddings: Tensor, own: Tensor
) -> Tensor:
    n = len(number)
    packed = gallery.keys(embeddings) * n + torch.arange(n, device=number.device)
    nearest = packed.new_full((len(packed), classes), LAST_KEY * n)
    nearest.scatter_reduce_(1, number.expand_as(packed), packed, "amin")
    nearest.scatter_(1, own[:, None], LAST_KEY * n)
    found = nearest.topk(min(k, classes), dim=1, largest=False, sorted=True).values
    usable = (found < LAST_KEY * n).sum(1, keepdim=True).clamp_min(1) - 1
    places = torch.arange(k, device=number.device).expand(len(found), k).minimum(usable)
    return found.gather(1, places) % n


def _softness(embeddings: Tensor, block: Block, rows: ExtremeRows) -> Tensor:
    nearness = -block.distance_to(embeddings, rows.rows) / TEMPERATURE
    return nearness.masked_fill(~rows.exists, -100 / TEMPERATURE).logsumexp(1)
