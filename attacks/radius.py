"""The least radius at which a query loses its first place, and at which a planted candidate enters the first 1%."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from robustbench_dml import Block, Column, Draws, Items, random_others, recall_column, register_attack
from robustbench_dml.attacks.margin import WrongClass, margin, right_rows, wrong_rows
from robustbench_dml.evaluation.radius import Descent, RadiusAttack
from robustbench_dml.retrieval.gallery import in_chunks
from robustbench_dml.retrieval.geometry import LAST_KEY, nearest, rowwise_distance
from robustbench_dml.solvers.least_radii import ROUNDING
from robustbench_dml.solvers.minimal_radius import UNIT, MinimalRadius
from robustbench_dml.spec.columns import radius_column
from robustbench_dml.spec.registry import ATTACKS
from robustbench_dml.spec.schema import Evaluation
from robustbench_dml.utils.errors import RbdmlError

PAPER = "of this project; minimum-norm attacks as in Pintor et al., NeurIPS 2021, arXiv:2102.12827"
TOP = 0.01  # share of a list that a planted candidate has to enter
CLASSES = 3  # nearest wrong classes that a query is sent to
NEAR, FAR = 2, 4  # first radii of descents, as multiples of the least known radius


@register_attack(
    "radius-query",
    summary="least radius at which a query's first place is wrong",
    paper=PAPER,
    columns=(radius_column("MR:Q", "mean radius that breaks a query, in 1/255"),),
)
class RadiusQuery(RadiusAttack):
    """The first place of a query: the ranking margin, then the objectives of AutoRank."""

    value_column = "MR:Q"
    drawn_as = "ranking-margin"

    @classmethod
    def further_columns(cls, evaluation: Evaluation) -> tuple[Column, ...]:
        return (
            radius_column("r50", "median radius that breaks a benignly right query, in 1/255", median=True),
            *(recall_column(recall_at(radius)) for radius in named_radii(evaluation)),
        )

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        return margin(embeddings, block, wrong_rows(block), right_rows(block))

    def broken(self, embeddings: Tensor, block: Block) -> Tensor:
        return block.recall_at_1(embeddings) == 0

    def descents(self, turn: int) -> Iterator[Descent]:
        name = self.drawn_as
        for guide in (2 * turn, 2 * turn + 1):
            yield Descent(name, self, "guide", FAR, guide)
        yield Descent(name, self, "random" if turn % 2 else "benign")
        for place in range(1, CLASSES):  # the ranking margin goes to the nearest wrong class
            yield Descent(f"wrong-class {place}", WrongClass(place=place), "benign")
        yield Descent("smooth-recall", ATTACKS.get("smooth-recall").build(), "benign", NEAR)
        yield Descent("es", ATTACKS.get("es").build(), "random", NEAR)
        yield Descent(name, self, "best")

    def columns_of(self, radii: Tensor, evaluation: Evaluation) -> dict[str, Tensor]:
        recalls = {
            recall_at(radius): (radii > radius * UNIT * (1 + ROUNDING)).double() for radius in named_radii(evaluation)
        }
        return {"MR:Q": radii, "r50": radii, **recalls}


@register_attack(
    "radius-candidate",
    summary="least radius at which a planted candidate enters the first 1% of a random query's list",
    paper=PAPER,
    columns=(radius_column("MR:C", "mean radius that plants a candidate in the first 1%, in 1/255"),),
)
class RadiusCandidate(RadiusAttack):
    """The candidates of `ca+`. The list itself stays fixed, so a nearer candidate always ranks higher."""

    of_candidate = True
    value_column = "MR:C"
    drawn_as = "ca+"

    def choose_targets(self, items: Items, draws: Draws) -> Tensor:
        """(B, 2) a random query, and the row of its list that a candidate must pass to enter the first 1%."""
        gallery, queries = items.gallery, random_others(items, draws)
        place = int(TOP * (len(gallery) - 2))  # neither the query nor the candidate competes

        def limit(rows: Tensor, query: Tensor) -> Tensor:
            keys = gallery.keys(gallery.embeddings[query]).scatter_(1, torch.stack([rows, query], 1), LAST_KEY)
            return nearest(keys, place + 1)[:, place:]

        return torch.cat([queries, in_chunks(limit, items.rows, queries.squeeze(1), width=len(gallery))], dim=1)

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        """d(q, c~) - d(q, row to pass)."""
        query, limit = block.target_embeddings.unbind(1)
        return rowwise_distance(embeddings, query) - rowwise_distance(limit, query)

    def broken(self, embeddings: Tensor, block: Block) -> Tensor:
        return block.rank_of_item(embeddings)[:, 0] <= TOP

    def descents(self, turn: int) -> Iterator[Descent]:
        yield Descent("ca+", self, "guide", FAR, turn)
        yield Descent("ca+", self, "random", NEAR)
        yield Descent("ca+", self, "best")


def recall_at(radius: float) -> str:
    """The name of the column of recall at a radius in 1/255."""
    return f"R@1:{radius:g}"


def named_radii(evaluation: Evaluation) -> tuple[float, ...]:
    """Radii in 1/255 at which an evaluation reports recall: the named radii up to its largest.

    Raises:
        RbdmlError: there are none, or another solver is asked for.
    """
    if evaluation.solver.name != RadiusAttack.requires_solver:
        raise RbdmlError(f"attacks for a radius search with '{RadiusAttack.requires_solver}' alone: leave --solver out")
    solver = MinimalRadius(**evaluation.solver.params)  # type: ignore[arg-type]
    cap = evaluation.threat.eps / UNIT
    named = tuple(radius for radius in solver.named_radii if radius <= cap * (1 + ROUNDING))
    if not named:
        raise RbdmlError(
            f"the largest radius, {cap:.3g}/255, is below the smallest named one, {solver.named_radii[0]:g}/255: raise "
            "--attack-eps or name smaller ones with --solver-param named=..."
        )
    return named
