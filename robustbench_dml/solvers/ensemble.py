"""The ensemble: APGD with restarts, then Square, then transfer, the best end of every image kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from robustbench_dml.solvers.apgd import AutoPGD
from robustbench_dml.solvers.base import BestImages, Problem, Restarting, Solver
from robustbench_dml.solvers.pgd import PGD
from robustbench_dml.solvers.square import Square
from robustbench_dml.solvers.transfer import Transfer
from robustbench_dml.spec.registry import register_solver
from robustbench_dml.utils.errors import RbdmlError


@register_solver(
    "ensemble",
    summary="APGD with restarts, Square and, in autorank, transfer; the best end of every image is kept",
    paper="after AutoAttack: Croce and Hein, ICML 2020, arXiv:2003.01690",
)
@dataclass(kw_only=True)
class Ensemble(Solver):
    """Several searches for one objective; `autorank` runs them on several objectives.

    Attributes:
        restarts: of APGD.
        steps: of APGD. The evaluation's own number of steps is that of PGD.
        square_queries: of Square.
        classes: how many of the nearest wrong classes `autorank` aims at.
    """

    restarts: int = 5
    steps: int = 100
    square_queries: int = 1000
    classes: int = 3

    def __post_init__(self) -> None:
        for name in ("restarts", "steps", "square_queries", "classes"):
            if getattr(self, name) < 1:
                raise RbdmlError(f"{name} = {getattr(self, name)}: give at least one")

    @property
    def apgd(self) -> AutoPGD:
        """APGD with all restarts."""
        return AutoPGD(restarts=self.restarts)

    def apgd_restart(self, number: int) -> Solver:
        """One restart of APGD, counted from 0."""
        return OneRestart(self.apgd, number)

    @property
    def square(self) -> Square:
        """Square with the ensemble's number of queries."""
        return Square(queries=self.square_queries)

    @property
    def pgd(self) -> PGD:
        """PGD as published, without random start."""
        return PGD()

    @property
    def transfer(self) -> Transfer:
        """PGD on the surrogate."""
        return Transfer()

    @property
    def apgd_transfer(self) -> Transfer:
        """APGD on the surrogate."""
        return Transfer(solver="apgd")

    def longer(self, problem: Problem) -> Problem:
        """The problem with as many steps as APGD takes, on the surrogate too."""
        surrogate = problem.surrogate
        return replace(
            problem,
            threat=problem.threat.model_copy(update={"steps": self.steps}),
            surrogate=None if surrogate is None else lambda: self.longer(surrogate()),
        )

    def run(self, problem: Problem) -> Tensor:
        best = BestImages(problem.images, problem.values(problem.images, problem.rows))
        for images in self._searches(problem):
            best.update(images, problem.values(images, problem.rows))
        return best.images

    def _searches(self, problem: Problem) -> Iterator[Tensor]:
        yield self.apgd.run(self.longer(problem))
        yield self.square.run(problem)
        if problem.surrogate is not None:
            yield self.transfer.run(problem)


@dataclass
class OneRestart(Solver):
    """A single restart of a solver."""

    solver: Restarting
    number: int

    def run(self, problem: Problem) -> Tensor:
        return self.solver.run_restart(problem, self.number)[0]
