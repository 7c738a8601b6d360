"""RobustBench-DML: a benchmark of adversarial robustness in deep metric learning."""

from robustbench_dml.api import (
    evaluate,
    list_attacks,
    list_backbones,
    list_datasets,
    list_defenses,
    list_optimisers,
    load_model,
    run,
    train,
)
from robustbench_dml.errors import RbdmlError
from robustbench_dml.registry import (
    register_attack,
    register_backbone,
    register_dataset,
    register_defense,
    register_optimiser,
)

__all__ = [
    "RbdmlError",
    "evaluate",
    "list_attacks",
    "list_backbones",
    "list_datasets",
    "list_defenses",
    "list_optimisers",
    "load_model",
    "register_attack",
    "register_backbone",
    "register_dataset",
    "register_defense",
    "register_optimiser",
    "run",
    "train",
]
