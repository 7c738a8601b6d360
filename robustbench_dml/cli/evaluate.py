"""`rbdml evaluate`: evaluate a checkpoint or an external model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustbench_dml.cli.options import evaluation_changes, evaluation_options, output_options, place_of, place_options
from robustbench_dml.cli.output import show_outcome
from robustbench_dml.utils.errors import RbdmlError


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@click.option("--model", help="file.py:factory, for a model that is not of this project; CHECKPOINT fills it.")
@click.option("--backbone", help="Refuse a checkpoint of another backbone.")
@click.option("--dataset", help="folder:PATH, where the folder that it was trained on is now. With --model: any.")
@click.option("--defense", help="file.py:NAME, for a defense from outside the project.")
@evaluation_options
@place_options
@output_options
def evaluate(
    checkpoint: Path | None,
    model: str | None,
    backbone: str | None,
    dataset: str | None,
    defense: str | None,
    **shared: Any,
) -> None:
    """Evaluate a trained model again, the same way or another; or a model that is not of this project.

    With --model, factory() returns a torch module from (B, C, H, W) images in [0, 1] to embeddings, and CHECKPOINT is
    its state dict: safetensors, or a torch file, which is never unpickled freely.
    """
    from robustbench_dml.runs import run as runs
    from robustbench_dml.runs.external import evaluate_external
    from robustbench_dml.spec.lookup import find_defense

    changes, place = evaluation_changes(shared), place_of(shared)
    if model is not None:
        if dataset is None or backbone is not None or defense is not None:
            raise RbdmlError("--model needs --dataset, and has no --backbone or --defense of this project: change that")
        outcome = evaluate_external(model, checkpoint, place, dataset=dataset, changes=changes, force=shared["force"])
        show_outcome(outcome, shared)
        return
    if checkpoint is None:
        raise RbdmlError("nothing to evaluate: give a CHECKPOINT that `rbdml run` wrote, or --model file.py:factory")
    if defense is not None:
        find_defense(defense)
    outcome = runs.reevaluate(
        checkpoint, place, backbone=backbone, dataset=dataset, changes=changes, force=shared["force"]
    )
    show_outcome(outcome, shared)
