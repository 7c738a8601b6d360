"""The ensemble solver: APGD with restarts, then Square, then transfer; each image keeps its best result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from robustbench_dml.solvers.apgd import AutoPGD
from robustbench_dml.solvers.base import FORWARD, BestImages, Problem, Restarting, Solver
from robustbench_dml.solvers.square import Square
from robustbench_dml.solvers.transfer import Transfer
from robustbench_dml.spec.registry import register_solver
from robustbench_dml.spec.schema import Threat
from robustbench_dml.utils.errors import RbdmlError


@register_solver(
    "ensemble",
    summary="APGD with restarts, Square and, in autorank, transfer; the best end of every image is kept",
    paper="after AutoAttack: Croce and Hein, ICML 2020, arXiv:2003.01690",
)
@dataclass(kw_only=True)
class Ensemble(Solver):
    """Several solvers for one objective. The protocol `autorank` runs them on several objectives.

    Attributes:
        restarts: restarts of APGD.
        steps: steps of APGD. The evaluation's number of steps is that of PGD.
        square_queries: queries of Square.
        classes: number of nearest wrong classes that `autorank` targets.
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

    def longer(self, problem: Problem) -> Problem:
        """The same problem with the number of steps of APGD, on the surrogate, too."""
        surrogate = problem.surrogate
        return replace(
            problem,
            threat=problem.threat.model_copy(update={"steps": self.steps}),
            surrogate=None if surrogate is None else lambda: self.longer(surrogate()),
        )

    def passes(self, threat: Threat) -> float:
        """See `Solver`; without a surrogate."""
        longer = threat.model_copy(update={"steps": self.steps})
        return self.apgd.passes(longer) + self.square.passes(threat) + 3 * FORWARD

    def run(self, problem: Problem) -> Tensor:
        best = BestImages(problem.images, problem.values(problem.images, problem.rows))
        for images in self._results(problem):
            best.update(images, problem.values(images, problem.rows))
        return best.images

    def _results(self, problem: Problem) -> Iterator[Tensor]:
        yield self.apgd.run(self.longer(problem))
        yield self.square.run(problem)
        if problem.surrogate is not None:
            yield Transfer().run(problem)


@dataclass
class OneRestart(Solver):
    """A single restart of a solver."""

    solver: Restarting
    number: int

    def passes(self, threat: Threat) -> float:
        """See `Solver`."""
        return self.solver.attempt_passes(threat)

    def run(self, problem: Problem) -> Tensor:
        return self.solver.run_restart(problem, self.number)[0]
