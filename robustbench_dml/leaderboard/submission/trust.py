"""Models and defenses of a submission, loaded after their hashes are checked.

Python files run only if the user trusts them, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from robustbench_dml.leaderboard.entries import SHORT
from robustbench_dml.models.checkpoints import Checkpoint, load_checkpoint, weights_hash
from robustbench_dml.models.embedder import build_embedder
from robustbench_dml.models.pretrained import first_weights
from robustbench_dml.models.robrank import PREFIX
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.external import ExternalModel, load_external
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.lookup import IN_A_FILE, load_module
from robustbench_dml.spec.registry import BACKBONES, DEFENSES
from robustbench_dml.spec.schema import ComputeUsed, ExternalSpec, RunSpec
from robustbench_dml.spec.source import defense_source, source_hash
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import sha256

MODULE = re.compile(r"[a-z][a-z0-9_]{0,60}\.py")
MAX_BYTES = 1_000_000  # size limit of a Python file


def trusted_defense(text: str, records: Sequence[Record], *, trust: bool) -> Path:
    """Register the defense of a user's file, if the records used this defense and the user trusts the file.

    The source hash leaves imports out, so it finds mistakes, not malice. `trust` guards against malice.

    Args:
        text: path/to/file.py:NAME.

    Raises:
        RbdmlError: no such file, another defense than the records', no trust, or the file does not register NAME.
    """
    path, name = plain_file(text, "--defense")
    claimed = {record.provenance.defense_source for record in records if record.spec.defense == name}
    if not claimed:
        raise RbdmlError(f"--defense: no record here is of '{name}': name the defense as the records do")
    source = source_hash([path])
    if claimed != {source}:
        raise RbdmlError(
            f"{path}: not the source that the records were made with (source hash {source[:SHORT]}, theirs "
            f"{', '.join(sorted(digest[:SHORT] for digest in claimed))}): give that file, or run again"
        )
    _require_trust(path, trust=trust)
    if name not in DEFENSES or defense_source(DEFENSES.get(name)) != source:
        load_module(path)
    DEFENSES.get(name)
    return path


def trusted_model(text: str, spec: ExternalSpec, checkpoint: Path, *, trust: bool) -> ExternalModel:
    """Load an external model, if its file and weights match the record and the user trusts the file.

    Args:
        text: path/to/file.py:factory, or robrank:NET.
        checkpoint: state dict of the model.

    Raises:
        RbdmlError: no such file, another file than the record's, no trust, or other weights.
    """
    if not text.startswith(PREFIX):
        _check_file(text, spec, trust=trust)
    elif text != spec.model:
        raise RbdmlError(f"--model: the record is of {spec.model}: give that one")
    external = load_external(text, checkpoint)
    if external.weights != spec.weights:
        raise RbdmlError(f"{checkpoint}: not the weights of the record ({spec.weights[:SHORT]}): give those")
    return external


def _check_file(text: str, spec: ExternalSpec, *, trust: bool) -> None:
    path, factory = plain_file(text, "--model")
    if f"{path.name}:{factory}" != spec.model:
        raise RbdmlError(f"--model: the record is of {spec.model}: give the file and the factory of that name")
    digest = sha256(path)
    if digest != spec.source:
        raise RbdmlError(
            f"{path}: not the file that the record was made with (SHA-256 {digest[:SHORT]}, its "
            f"{spec.source[:SHORT]}): give that one, or evaluate again"
        )
    _require_trust(path, trust=trust)


def claimed_model(record: Record, checkpoint: Path, device: torch.device) -> nn.Module:
    """Load the model of a run as its defense deploys it, if the checkpoint is the record's.

    Raises:
        RbdmlError: an unreadable checkpoint, or a checkpoint with other weights, another run or another cost.
    """
    loaded = load_checkpoint(checkpoint, device=device)
    weights = weights_hash(loaded.embedder)
    if weights != record.provenance.weights:
        raise RbdmlError(
            f"{checkpoint}: weights {weights[:SHORT]}, and the record is of {record.provenance.weights[:SHORT]}: give "
            "the checkpoint that was written with it"
        )
    if not record.spec.trained_here:
        raise RbdmlError(f"{checkpoint}: of a run, and the record is of a model from elsewhere: give its own weights")
    if loaded.spec.model_copy(update={"evaluation": record.spec.evaluation}) != record.spec:
        raise RbdmlError(f"{checkpoint}: of another run ({loaded.spec.digest}): give the checkpoint of this record")
    if record.cost is None or (loaded.spent, loaded.end) != (record.cost.spent, record.training_end):
        raise RbdmlError(f"{checkpoint}: its training cost or end is not that of the record: one was altered")
    return loaded.model


def built_model(record: Record, context: RunContext) -> nn.Module:
    """Build the model of a defense that trains nothing.

    Raises:
        RbdmlError: the record is of other weights, or the initial weights are unavailable.
    """
    spec, end = record.spec, record.training_end
    assert isinstance(spec, RunSpec)
    assert end is not None
    start = first_weights(spec, context.weights, context.progress)
    network = build_embedder(BACKBONES.get(spec.backbone), seed=spec.seed, device=context.device, weights=start).eval()
    if weights_hash(network) != record.provenance.weights:
        raise RbdmlError("its weights are not the initial ones of its seed: run it again here, and submit that record")
    return Checkpoint(network, spec, ComputeUsed(), end).model


def plain_file(text: str, option: str) -> tuple[Path, str]:
    """Return the file of path/to/file.py:NAME, and the name.

    Raises:
        RbdmlError: another form, no such file, or a large one.
    """
    match = IN_A_FILE.fullmatch(text)
    if match is None:
        raise RbdmlError(f"{option} {text}: write path/to/file.py:NAME")
    path = Path(match[1])
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise RbdmlError(f"{path}: no Python file of at most {MAX_BYTES} bytes: give path/to/file.py:NAME")
    return path, match[2]


def check_discoverable(path: Path) -> None:
    """Refuse a file name under which the defenses' folder would not find the file.

    Raises:
        RbdmlError: the name is not like my_defense.py.
    """
    if not MODULE.fullmatch(path.name):
        raise RbdmlError(
            f"{path}: is to be kept in defenses/, where names are like my_defense.py: rename it, run again"
        )


def _require_trust(path: Path, *, trust: bool) -> None:
    """Ask for `--trust-code`, with the hash of the bytes, since the user vouches for these bytes."""
    if not trust:
        raise RbdmlError(
            f"{path} (SHA-256 {sha256(path)}) is Python that this project does not know, and it would run with your "
            "rights: read it, then give --trust-code"
        )
