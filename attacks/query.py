"""QA: perturb a query so that chosen candidates rank higher or lower in its list; SPQA leaves the top of it alone.

Zhou et al., ECCV 2020, arXiv:2002.11293.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_dml import Attack, Block, Column, Draws, Items, random_near, random_others, register_attack
from robustbench_dml.retrieval.rank_hinge import mean_rank_hinge

PAPER = "Zhou et al., ECCV 2020, arXiv:2002.11293"
WIDTHS = (1, 2, 5, 10)  # published numbers of targets
KEPT = 5  # SPQA keeps the query's own first candidates in place
STRICTNESS, MOST = 4e4, 1e9  # of their weight, min(exp(STRICTNESS x how far they have fallen), MOST), as in the code
RAISE = Column(name="QA+", meaning="mean rank percentile; 50 untouched, 0 top", scale=100, ers_slope=2, ers_offset=0)
LOWER = Column(name="QA-", meaning="mean rank percentile; 100 bottom", scale=100, ers_slope=-1, ers_offset=100)


def named(attack: str, sign: int, width: int) -> tuple[str, str]:
    """The names of an entry with this many targets and of its column: ("ca+w2", "CA+ W=2"), ("qa-", "QA-")."""
    plain, letter = attack + ("+" if sign > 0 else "-"), "W" if attack == "CA" else "M"
    return (plain.lower(), plain) if width == 1 else (f"{plain}{letter}{width}".lower(), f"{plain} {letter}={width}")


@dataclass(kw_only=True)
class QueryAttack(Attack):
    """The attacked item is a query, its targets are M candidates. The value is the candidates' rank percentile."""

    width: int = 1
    sign: int = 1
    near: bool = False

    def choose_targets(self, items: Items, draws: Draws) -> Tensor:
        return (random_near if self.near else random_others)(items, draws, width=self.width)

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        return overtaking(embeddings, block, block.targets, sign=self.sign)

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {named("QA", self.sign, self.width)[1]: block.rank_of_target(embeddings).mean(1)}


@dataclass(kw_only=True)
class SemanticsPreserving(QueryAttack):
    """QA that also keeps the query's own first five candidates in place: its objective is that of QA and, times a
    weight that grows as they fall, that of QA+ for them.

    The published code has one weight for a whole batch and its own rate for each data set (2e4 to 7e4); here every
    query has its own, with the rate of CUB and Fashion-MNIST.
    """

    def choose_targets(self, items: Items, draws: Draws) -> Tensor:
        return torch.cat([super().choose_targets(items, draws), items.nearest[:, :KEPT]], dim=1)

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        moved, kept = block.targets[:, : self.width], block.targets[:, self.width :]
        fallen = overtaking(embeddings, block, kept, sign=1)
        weight = (STRICTNESS * fallen.detach()).exp().clamp_max(MOST)
        return overtaking(embeddings, block, moved, sign=self.sign) + weight * fallen

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        ranks, name = block.rank_of_target(embeddings), named("SPQA", self.sign, self.width)[1]
        return {name: ranks[:, : self.width].mean(1), f"{name} kept": ranks[:, self.width :].mean(1)}


def overtaking(embeddings: Tensor, block: Block, targets: Tensor, *, sign: int) -> Tensor:
    """(B,) how far M of the candidates are from having passed everything in the attacked queries' lists."""
    item = block.distance_to(embeddings, targets)
    return mean_rank_hinge(embeddings, item, block.gallery.embeddings, own=block.items, targets=targets, sign=sign)


TOP = Column(name="kept", meaning="mean rank percentile of the first five", scale=100, ers_slope=-1, ers_offset=100)

for width in WIDTHS:
    several = "a candidate" if width == 1 else f"{width} candidates"
    for family, cls, and_keep in (("QA", QueryAttack, ""), ("SPQA", SemanticsPreserving, " and keep its first five")):
        for sign, how, shape in (
            (1, "raise {} drawn at random", RAISE),
            (-1, "lower {} drawn from its nearest", LOWER),
        ):
            name, column = named(family, sign, width)
            register_attack(
                name,
                summary=f"{how.format(several)} in the list of a query{and_keep}",
                paper=PAPER,
                columns=(shape.named(column), *((TOP.named(f"{column} kept"),) if and_keep else ())),
                width=width,
                sign=sign,
                near=sign < 0,
            )(cls)
