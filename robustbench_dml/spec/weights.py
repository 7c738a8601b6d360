"""Hashes by which a spec names weights, and the content of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from robustbench_dml.spec.registry import BackboneInfo
from robustbench_dml.spec.schema import ComputeUsed, RunSpec, TrainingEnd
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import sha256

if TYPE_CHECKING:
    from torch import Tensor

DIGITS = 8  # digits of a weight file's SHA-256, as in the file names of torchvision
SURROGATE_DIGITS = 16  # digits of the hash of a surrogate's weights


PROXIES = "loss."  # prefix of the learned tensors of a loss in a checkpoint


class StoredRun(NamedTuple):
    """The content of a checkpoint: weights by name, the run's spec, training cost and end, and proxies of its loss."""

    weights: Mapping[str, Tensor]
    spec: RunSpec
    spent: ComputeUsed
    end: TrainingEnd
    proxies: Mapping[str, Tensor]


def read_checkpoint(path: Path) -> StoredRun:
    """Read a checkpoint without building its network.

    Raises:
        RbdmlError: unreadable, or not a checkpoint of this project.
    """
    from robustbench_dml.utils.tensors import read_tensors

    tensors, metadata = read_tensors(path)
    try:
        stored = StoredRun(
            {name: tensor for name, tensor in tensors.items() if not name.startswith(PROXIES)},
            RunSpec.model_validate_json(metadata["spec"]),
            ComputeUsed.model_validate_json(metadata["spent"]),
            TrainingEnd.model_validate_json(metadata["end"]),
            {name[len(PROXIES) :]: tensor for name, tensor in tensors.items() if name.startswith(PROXIES)},
        )
    except (KeyError, ValidationError):
        stored = None
    if stored is None or (stored.spent.iterations == 0 and stored.spec.budget.amount > 0):
        raise RbdmlError(
            f"{path}: holds weights but not the run they came from: give a checkpoint that `rbdml run` wrote"
        )
    return stored


def surrogate_digits(path: Path) -> str:
    """Return the name of a surrogate in a spec: the first digits of its weights' hash.

    Raises:
        RbdmlError: unreadable, or not a checkpoint of this project.
    """
    from robustbench_dml.utils.tensors import tensors_hash

    return tensors_hash(read_checkpoint(path).weights)[:SURROGATE_DIGITS]


def initial_digits(
    info: BackboneInfo, *, pretrained: bool | None, weights: Path | None, default: bool = False
) -> str | None:
    """Return the first digits of the SHA-256 of the initial weights' file, None for random weights.

    Args:
        info: the backbone.
        pretrained: use published weights; None for the default.
        weights: a file instead of the published weights.
        default: default of `pretrained`.

    Raises:
        RbdmlError: the backbone has no published weights, or the file is missing or does not match its name.
    """
    if weights is not None and pretrained is False:
        raise RbdmlError("--no-pretrained and --weights contradict each other: leave one of them out")
    if weights is not None:
        return _digits_of(weights, info)
    if not (default if pretrained is None else pretrained):
        return None
    if info.weights is None:
        raise RbdmlError(
            f"backbone '{info.name}' has no published weights: use --no-pretrained, or give --weights FILE"
        )
    return info.weights.digits


def _digits_of(path: Path, info: BackboneInfo) -> str:
    if not path.is_file():
        raise RbdmlError(f"{path}: no such file of weights: give --weights FILE, or use --no-pretrained")
    digits = sha256(path)[:DIGITS]
    if info.weights and path.name == info.weights.url.rpartition("/")[2] and digits != info.weights.digits:
        raise RbdmlError(
            f"{path}: its SHA-256 begins with {digits}, not with the {info.weights.digits} of its name: it is "
            "truncated or altered; get it again"
        )
    return digits
