"""Objectives for the first place of a query's list, over the whole gallery. AutoRank attacks with them.

You can run each alone (`--extra-attack ranking-margin`). All are margins between the nearest right and the nearest
wrong item, after the attacks on classifiers of Carlini and Wagner, S&P 2017, arXiv:1608.04644.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robustbench_dml import (
    Attack,
    Block,
    Draws,
    ExtremeRows,
    Items,
    RowKind,
    extreme_rows,
    nearest_wrong_classes,
    recall_column,
    register_attack,
)

PAPER = "of this project, after Carlini and Wagner, S&P 2017, arXiv:1608.04644"
TEMPERATURE = 0.05  # temperature of the smooth recall, in units of distance
CONSIDERED = 32  # nearest right rows, and as many wrong rows, in the smooth recall


class FirstPlace(Attack):
    """Put another class into the first place of a query's list. A query alone in its class is not moved."""

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
    """Minimise d(q~, nearest wrong) - d(q~, nearest right). Below 0 the first place is lost."""

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
    """Minimise log sum_right exp(-d / 0.05) - log sum_wrong exp(-d / 0.05), each over its 32 nearest rows."""

    column = "SR"

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        kinds = right_rows(block, k=CONSIDERED), wrong_rows(block, k=CONSIDERED)
        right, wrong = extreme_rows(embeddings, block.gallery, *kinds)
        both = right.exists[:, 0] & wrong.exists[:, 0]
        return (_log_nearness(embeddings, block, right) - _log_nearness(embeddings, block, wrong)) * both


@register_attack(
    "wrong-class",
    summary="bring the nearest item of the nearest wrong class before the nearest right one",
    paper=PAPER,
    columns=(recall_column("WC"),),
)
@dataclass(kw_only=True)
class WrongClass(FirstPlace):
    """Minimise d(q~, nearest of the chosen class) - d(q~, nearest right).

    Attributes:
        place: number of the wrong class; the nearest class is 0.
    """

    column = "WC"
    place: int = 0

    def choose_targets(self, items: Items, draws: Draws) -> Tensor:
        return nearest_wrong_classes(items, self.place + 1)[:, self.place :]

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        chosen = block.gallery.labels[block.targets[:, 0]]
        return margin(embeddings, block, RowKind(labels=chosen, same=True), right_rows(block))


def right_rows(block: Block, *, farthest: bool = False, itself: bool = False, k: int = 1) -> RowKind:
    """The k nearest or farthest rows of each query's class, by default without the query itself."""
    without = None if itself else block.items
    return RowKind(labels=block.labels, same=True, farthest=farthest, without=without, k=k)


def wrong_rows(block: Block, *, farthest: bool = False, k: int = 1) -> RowKind:
    """The k nearest or farthest rows of other classes."""
    return RowKind(labels=block.labels, same=False, farthest=farthest, k=k)


def margin(embeddings: Tensor, block: Block, wrong: RowKind, right: RowKind) -> Tensor:
    """(B,) distance to the wrong row minus that to the right row; 0 without gradient where either is missing."""
    far, near = extreme_rows(embeddings, block.gallery, wrong, right)
    gap = block.distance_to(embeddings, far.rows) - block.distance_to(embeddings, near.rows)
    return (gap * (far.exists & near.exists)).squeeze(1)


def _log_nearness(embeddings: Tensor, block: Block, rows: ExtremeRows) -> Tensor:
    """(B,) log sum exp(-d / TEMPERATURE) over the rows that exist."""
    nearness = -block.distance_to(embeddings, rows.rows) / TEMPERATURE
    return nearness.masked_fill(~rows.exists, -100 / TEMPERATURE).logsumexp(1)
