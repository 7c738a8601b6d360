"""Weights on disk: safetensors, never pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from robustbench_dml.budget import Spent
from robustbench_dml.defense import build_defense, resolve_params
from robustbench_dml.embedder import Embedder, build_embedder
from robustbench_dml.errors import RbdmlError
from robustbench_dml.files import write_atomically
from robustbench_dml.protocol import RunSpec
from robustbench_dml.records import TrainingEnd
from robustbench_dml.registry import BACKBONES, DEFENSES


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and how it came to be.

    Attributes:
        embedder: as trained.
        spec: of the run.
        spent: by the training.
        end: of the training.
    """

    embedder: Embedder
    spec: RunSpec
    spent: Spent
    end: TrainingEnd

    @property
    def model(self) -> nn.Module:
        """The model as its defense deploys it, in eval mode: what is evaluated and used.

        Raises:
            RbdmlError: the defense is not registered here, or does not have these parameters.
        """
        params = resolve_params(DEFENSES.get(self.spec.defense), self.spec.params)  # a file may say anything
        defense = build_defense(self.spec.defense, params, self.spec.training.threat)
        return defense.deploy(self.embedder).eval()


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a trained model, atomically."""
    parts = {"spec": checkpoint.spec, "spent": checkpoint.spent, "end": checkpoint.end}
    metadata = {name: part.model_dump_json() for name, part in parts.items()}
    write_tensors(path, checkpoint.embedder.state_dict(), metadata)


def load_checkpoint(path: Path, *, device: torch.device, backbone: str | None = None) -> Checkpoint:
    """Read a trained model; it comes in eval mode.

    Args:
        path: a file written by `save_checkpoint`.
        device: where the model goes.
        backbone: the backbone that it must have, if that matters to the caller.

    Raises:
        RbdmlError: unreadable, not a checkpoint of this project, or of another backbone.
    """
    tensors, state = read_tensors(path)
    try:
        spec = RunSpec.model_validate_json(state["spec"])
        spent = Spent.model_validate_json(state["spent"])
        end = TrainingEnd.model_validate_json(state["end"])
        if spent.iterations == 0:
            raise KeyError("iterations")
    except (KeyError, ValidationError):
        raise RbdmlError(
            f"{path}: holds weights but not the run they came from: give a checkpoint that `rbdml run` wrote"
        ) from None
    if backbone is not None and backbone != spec.backbone:
        raise RbdmlError(
            f"{path}: a checkpoint of backbone '{spec.backbone}', not '{backbone}': leave --backbone out or give "
            "another checkpoint"
        )
    model = build_embedder(BACKBONES.get(spec.backbone), seed=spec.seed, device=device)
    try:
        model.load_state_dict(tensors)
    except RuntimeError:
        raise RbdmlError(
            f"{path}: its weights do not fit backbone '{spec.backbone}': it was made with another version of the "
            "backbone or altered; train again"
        ) from None
    return Checkpoint(model.eval(), spec, spent, end)


def weights_hash(model: nn.Module) -> str:
    """SHA-256 of a model's weights: their names, types, shapes and values, whatever file they are in."""
    return tensors_hash(model.state_dict())


def content_hash(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 of all that a file of `write_tensors` holds."""
    text = json.dumps(dict(metadata), sort_keys=True)
    return hashlib.sha256(f"{text}\0{tensors_hash(tensors)}".encode()).hexdigest()


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: their names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        plain = tensor.cpu().contiguous().reshape(-1).view(torch.uint8)  # numpy has no bfloat16
        digest.update(plain.numpy().tobytes())
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and text to a safetensors file, atomically."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, lambda file: file.write(save(plain, metadata)))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What `write_tensors` wrote.

    Raises:
        RbdmlError: no such file, or not readable as safetensors.
    """
    if not path.is_file():
        raise RbdmlError(f"{path}: no such checkpoint: give the path of a checkpoint.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RbdmlError(
            f"{path}: not a readable safetensors file ({error}): it is truncated or altered; remove it"
        ) from None
