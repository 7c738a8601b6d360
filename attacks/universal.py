"""UAP: one perturbation for all queries.

Li et al., ICCV 2019, arXiv:1812.00552.
"""

from __future__ import annotations

from typing import ClassVar

from robustbench_dml import Solver, recall_column, register_attack
from robustbench_dml.attacks.margin import SmoothRecall
from robustbench_dml.solvers.universal import Universal


@register_attack(
    "uap",
    summary="universal perturbation: lower the recall of all queries by one perturbation",
    paper="Li et al., ICCV 2019, arXiv:1812.00552; objective of this project",
    columns=(recall_column("UAP"),),
)
class UniversalPerturbation(SmoothRecall):
    """Minimise the mean of the smooth recall over images of the gallery, for the same perturbation."""

    own_solver: ClassVar[Solver | None] = Universal()
    column = "UAP"
