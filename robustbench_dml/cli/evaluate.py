"""`rbdml evaluate`: evaluate a checkpoint or an external model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustbench_dml.cli.options import DATA, EVALUATION, CheckpointPath, GroupedCommand, check_bf16, context_of, take
from robustbench_dml.cli.output import importing, output_options, print_outcome
from robustbench_dml.spec.options import EVALUATE, arguments_of
from robustbench_dml.utils.errors import RbdmlError


@click.command(cls=GroupedCommand)
@click.argument("checkpoint", type=CheckpointPath(), required=False)
@click.option("--model", help="External model: file.py:factory, or robrank:NET. CHECKPOINT holds its weights.")
@click.option("--dataset", help="With --model, any data set. Else folder:PATH, the new path of the training folder.")
@click.option("--defense", help="Defense of the checkpoint, if from outside the project: file.py:NAME.")
@take(*EVALUATION, published=False)
@take("out", *DATA, "batch-size", "devices", "force")
@output_options
def evaluate(
    checkpoint: Path | None,
    model: str | None,
    dataset: str | None,
    defense: str | None,
    **words: Any,
) -> None:
    """Evaluate a trained model again, or an external model.

    CHECKPOINT is the folder of a run, its checkpoint.safetensors, or zoo:NAME from `rbdml zoo list`.

    Attack options you leave out stay as in the run of the checkpoint; with --model, they have the published values.

    With --model, factory() returns a torch module from (B, C, H, W) images in [0, 1] to embeddings, and CHECKPOINT is
    its state dict: safetensors, or a torch file, which is never unpickled freely. The file can import modules beside
    it; the record stores the hash of the file and of the weights, not of those modules.
    """
    with importing(quiet=words["quiet"] or words["as_json"]):
        from robustbench_dml.runs.external import evaluate_external
        from robustbench_dml.runs.launch import run_on_devices
        from robustbench_dml.runs.run import evaluated_spec
        from robustbench_dml.spec.lookup import find_defense

    check_bf16(words)
    changes, context = arguments_of(words)[EVALUATE], context_of(words)
    if model is not None:
        if dataset is None or defense is not None:
            raise RbdmlError("--model needs --dataset, and has no --defense of this project: change that")
        if words["devices"] not in (None, 1):
            raise RbdmlError("--devices starts no processes for an external model: use torchrun, and leave it out")
        made = evaluate_external(model, checkpoint, context, dataset=dataset, changes=changes, force=words["force"])
        if made is not None:  # the leading process
            print_outcome(made, words)
        return
    if checkpoint is None:
        raise RbdmlError("nothing to evaluate: give a CHECKPOINT that `rbdml run` wrote, or --model file.py:factory")
    if defense is not None:
        find_defense(defense)
    spec = evaluated_spec(checkpoint, context, dataset=dataset, changes=changes)
    words["defense"] = defense
    outcome = run_on_devices(spec, context, words["devices"], words=words, checkpoint=checkpoint, force=words["force"])
    if outcome is not None:  # the leading process
        print_outcome(outcome, words)
