"""Transfer: the perturbation found on another model."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from torch import Tensor

from robustbench_dml.solvers.base import Optimiser, Problem
from robustbench_dml.spec.registry import OPTIMISERS, register_optimiser
from robustbench_dml.utils.errors import RbdmlError


@register_optimiser(
    "transfer",
    summary="black box: attack a surrogate model and send what was found there",
    paper="Papernot et al., 2016, arXiv:1605.07277",
)
@dataclass(kw_only=True)
class Transfer(Optimiser):
    """Runs another optimiser on the same attack on the surrogate, and never asks the attacked model.

    Attributes:
        optimiser: which one.
        random_start, restarts: its own parameters of these names, where it has them.
    """

    black_box: ClassVar[bool] = True
    needs_surrogate: ClassVar[bool] = True

    optimiser: str = "pgd"
    random_start: bool = False
    restarts: int = 1

    def __post_init__(self) -> None:
        self._inner()

    def run(self, problem: Problem) -> Tensor:
        if problem.surrogate is None:
            raise RbdmlError("optimiser 'transfer' has no model to transfer from: give --surrogate CHECKPOINT")
        return self._inner().run(problem.surrogate())

    def _inner(self) -> Optimiser:
        """The optimiser that runs on the surrogate."""
        cls = OPTIMISERS.get(self.optimiser).cls
        if cls.needs_surrogate:
            raise RbdmlError(f"optimiser '{self.optimiser}' needs a surrogate itself: transfer from another one")
        known = {field.name for field in fields(cls)}
        given = {"random_start": self.random_start, "restarts": self.restarts}
        for name, value in given.items():
            if name not in known and value != getattr(Transfer, name):
                raise RbdmlError(f"optimiser '{self.optimiser}' has no parameter '{name}': leave it out of transfer")
        return cls(**{name: value for name, value in given.items() if name in known})
