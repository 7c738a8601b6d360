"""Transfer: perturbations found on another model."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from torch import Tensor

from robustbench_dml.solvers.base import Problem, Solver
from robustbench_dml.spec.registry import SOLVERS, register_solver
from robustbench_dml.spec.schema import Threat
from robustbench_dml.utils.errors import RbdmlError


@register_solver(
    "transfer",
    summary="black box: attack a surrogate model and send what was found there",
    paper="Papernot et al., 2016, arXiv:1605.07277",
)
@dataclass(kw_only=True)
class Transfer(Solver):
    """Run another solver on the surrogate, without any query of the attacked model.

    Attributes:
        solver: name of the solver.
        random_start, restarts: parameters passed on to the solver.
    """

    black_box: ClassVar[bool] = True
    needs_surrogate: ClassVar[bool] = True

    solver: str = "pgd"
    random_start: bool = False
    restarts: int = 1

    def __post_init__(self) -> None:
        self._inner()

    def passes(self, threat: Threat) -> float:
        """See `Solver`."""
        return self._inner().passes(threat)

    def run(self, problem: Problem) -> Tensor:
        if problem.surrogate is None:
            raise RbdmlError("solver 'transfer' has no model to transfer from: give --surrogate CHECKPOINT")
        return self._inner().run(problem.surrogate())

    def _inner(self) -> Solver:
        """The solver that runs on the surrogate."""
        cls = SOLVERS.get(self.solver).cls
        if cls.needs_surrogate:
            raise RbdmlError(f"solver '{self.solver}' needs a surrogate itself: transfer from another one")
        known = {field.name for field in fields(cls)}
        given = {"random_start": self.random_start, "restarts": self.restarts}
        for name, value in given.items():
            if name not in known and value != getattr(Transfer, name):
                raise RbdmlError(f"solver '{self.solver}' has no parameter '{name}': leave it out of transfer")
        return cls(**{name: value for name, value in given.items() if name in known})
