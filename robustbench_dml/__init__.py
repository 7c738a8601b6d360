"""RobustBench-DML: a benchmark of adversarial robustness in deep metric learning."""

from robustbench_dml.runs.api import (
    evaluate,
    list_attacks,
    list_backbones,
    list_datasets,
    list_defenses,
    list_solvers,
    load_model,
    run,
    train,
)
from robustbench_dml.spec.registry import (
    register_attack,
    register_backbone,
    register_dataset,
    register_defense,
    register_solver,
)
from robustbench_dml.utils.errors import RbdmlError

__all__ = [
    "RbdmlError",
    "evaluate",
    "list_attacks",
    "list_backbones",
    "list_datasets",
    "list_defenses",
    "list_solvers",
    "load_model",
    "register_attack",
    "register_backbone",
    "register_dataset",
    "register_defense",
    "register_solver",
    "run",
    "train",
]
