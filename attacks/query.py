"""QA: perturb a query so that chosen candidates rank higher or lower in its list.

Zhou et al., ECCV 2020, arXiv:2002.11293.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robustbench_dml import (
    Attack,
    Block,
    Column,
    Draws,
    Items,
    mean_rank_hinge,
    random_near,
    random_others,
    register_attack,
)

PAPER = "Zhou et al., ECCV 2020, arXiv:2002.11293"
WIDTHS = (1, 2, 5, 10)  # published numbers of targets
RAISE = Column(name="QA+", meaning="mean rank percentile; 50 untouched, 0 top", scale=100, ers_slope=2, ers_offset=0)
LOWER = Column(name="QA-", meaning="mean rank percentile; 100 bottom", scale=100, ers_slope=-1, ers_offset=100)


@dataclass(kw_only=True)
class QueryAttack(Attack):
    """Move M candidates in the list of the attacked query. The value is the candidates' rank percentile.

    Attributes:
        width: M, the number of candidates.
        sign: 1 raises the candidates, -1 lowers them.
        near: draw the candidates from the query's nearest 1% instead of the whole gallery.
    """

    width: int = 1
    sign: int = 1
    near: bool = False

    def choose_targets(self, items: Items, draws: Draws) -> Tensor:
        return (random_near if self.near else random_others)(items, draws, width=self.width)

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        return rank_hinge(embeddings, block, block.targets, sign=self.sign)

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {named("QA", self.sign, self.width)[1]: block.rank_of_target(embeddings).mean(1)}


def rank_hinge(embeddings: Tensor, block: Block, targets: Tensor, *, sign: int) -> Tensor:
    """Return the (B,) mean hinge loss of M candidates against the other items in each query's list."""
    item = block.distance_to(embeddings, targets)
    return mean_rank_hinge(embeddings, item, block.gallery.embeddings, own=block.items, targets=targets, sign=sign)


def named(attack: str, sign: int, width: int) -> tuple[str, str]:
    """Entry name and column title for `width` targets: ("ca+w2", "CA+ W=2"), ("qa-", "QA-")."""
    plain, letter = attack + ("+" if sign > 0 else "-"), "W" if attack == "CA" else "M"
    return (plain.lower(), plain) if width == 1 else (f"{plain}{letter}{width}".lower(), f"{plain} {letter}={width}")


def register_widths(
    cls: type[Attack],
    attack: str,
    *,
    targets: tuple[str, str],
    raising: str,
    lowering: str,
    further: Column | None = None,
) -> None:
    """Register a raising and a lowering attack for every published number of targets.

    Args:
        cls: the attack, with parameters `width`, `sign` and `near`.
        attack: its acronym in the papers.
        targets: the noun with its article, and its plural.
        raising: the raising attack's summary; {} stands for the targets.
        lowering: the lowering attack's summary.
        further: a second column.
    """
    for width in WIDTHS:
        which = targets[0] if width == 1 else f"{width} {targets[1]}"
        for sign, summary, column in ((1, raising, RAISE), (-1, lowering, LOWER)):
            name, title = named(attack, sign, width)
            register_attack(
                name,
                summary=summary.format(which),
                paper=PAPER,
                columns=(column.named(title), *([further.named(f"{title} kept")] if further else [])),
                width=width,
                sign=sign,
                near=sign < 0,
            )(cls)


register_widths(
    QueryAttack,
    "QA",
    targets=("a candidate", "candidates"),
    raising="raise {} drawn at random in the list of a query",
    lowering="lower {} drawn from its nearest in the list of a query",
)
