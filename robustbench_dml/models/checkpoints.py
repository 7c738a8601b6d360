"""Checkpoints on disk: safetensors, never pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from robustbench_dml.models.embedder import Embedder, build_embedder
from robustbench_dml.spec.parameters import build_defense, resolve_params
from robustbench_dml.spec.registry import BACKBONES, DEFENSES
from robustbench_dml.spec.schema import ComputeUsed, RunSpec, TrainingEnd
from robustbench_dml.spec.weights import PROXIES, read_checkpoint
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.tensors import tensors_hash, write_tensors


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and its run.

    Attributes:
        embedder: the model as trained.
        spec: spec of the run.
        spent: compute used by training.
        end: end of training.
        proxies: learned tensors of the run's loss by name; the deployed model does without them.
    """

    embedder: Embedder
    spec: RunSpec
    spent: ComputeUsed
    end: TrainingEnd
    proxies: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def model(self) -> nn.Module:
        """The evaluated model, as its defense deploys it, in eval mode.

        Raises:
            RbdmlError: the defense is not registered here, or does not have these parameters.
        """
        params = resolve_params(DEFENSES.get(self.spec.defense), self.spec.params)  # a file may hold other parameters
        defense = build_defense(self.spec.defense, params, self.spec.training.threat)
        return defense.deploy(self.embedder).eval()


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a trained model atomically."""
    parts = {"spec": checkpoint.spec, "spent": checkpoint.spent, "end": checkpoint.end}
    metadata = {name: part.model_dump_json() for name, part in parts.items()}
    proxies = {f"{PROXIES}{name}": tensor for name, tensor in checkpoint.proxies.items()}
    write_tensors(path, {**checkpoint.embedder.state_dict(), **proxies}, metadata)


def load_checkpoint(path: Path, *, device: torch.device) -> Checkpoint:
    """Read a trained model that `save_checkpoint` wrote, in eval mode.

    Raises:
        RbdmlError: unreadable, or not a checkpoint of this project.
    """
    tensors, spec, spent, end, proxies = read_checkpoint(path)
    model = build_embedder(BACKBONES.get(spec.backbone), seed=spec.seed, device=device)
    try:
        model.load_state_dict(tensors)
    except RuntimeError:
        raise RbdmlError(
            f"{path}: its weights do not fit backbone '{spec.backbone}': it was made with another version of the "
            "backbone or altered; train again"
        ) from None
    return Checkpoint(model.eval(), spec, spent, end, proxies)


def weights_hash(model: nn.Module) -> str:
    """SHA-256 of the names, types, shapes and values of a model's weights."""
    return tensors_hash(model.state_dict())
