"""The model of a record that is submitted: its own and no other."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from robustbench_dml.leaderboard.submission.audit import SHORT
from robustbench_dml.models.checkpoints import load_checkpoint, weights_hash
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.utils.errors import RbdmlError


def claimed_model(record: Record, checkpoint: Path, device: torch.device) -> nn.Module:
    """The model of one of our own runs as its defense deploys it, once the checkpoint is known to be the record's.

    Args:
        record: of a run.
        checkpoint: safetensors.
        device: where the model goes.

    Raises:
        RbdmlError: unreadable, other weights, of another run, or of another cost.
    """
    loaded = load_checkpoint(checkpoint, device=device)
    found = weights_hash(loaded.embedder)
    if found != record.provenance.weights:
        raise RbdmlError(
            f"{checkpoint}: weights {found[:SHORT]}, and the record is of {record.provenance.weights[:SHORT]}: give "
            "the checkpoint that was written with it"
        )
    if not isinstance(record.spec, RunSpec):
        raise RbdmlError(f"{checkpoint}: of a run, and the record is of a model from elsewhere: give its own weights")
    if loaded.spec.model_copy(update={"evaluation": record.spec.evaluation}) != record.spec:
        raise RbdmlError(f"{checkpoint}: of another run ({loaded.spec.digest}): give the checkpoint of this record")
    if record.cost is None or (loaded.spent, loaded.end) != (record.cost.spent, record.training_end):
        raise RbdmlError(f"{checkpoint}: its training cost or ended otherwise than the record says: one was altered")
    return loaded.model
