"""The surroundings of a run: folders, device, bars, and the files that its spec names by their hashes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustbench_dml.datasets.base import DataPaths, Dataset
from robustbench_dml.models.checkpoints import Checkpoint, load_checkpoint, weights_hash
from robustbench_dml.runs.folder import RunFolder
from robustbench_dml.spec.budgets import parse_seconds
from robustbench_dml.spec.options import CONTEXT, OPTIONS
from robustbench_dml.spec.registry import BACKBONES
from robustbench_dml.spec.schema import Evaluation, ExternalSpec, RunSpec
from robustbench_dml.training.tensorboard import needed
from robustbench_dml.utils.device import pick_device
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.progress import Progress


@dataclass(frozen=True)
class RunContext:
    """The surroundings of a run. Nothing here changes its result beyond rounding."""

    out: Path  # the folder of records
    paths: DataPaths  # the places of data sets
    device: torch.device  # the device that computes
    batch_size: int = 128  # images attacked at once in the evaluation
    progress: Progress = field(default_factory=lambda: Progress(quiet=True))  # bars and messages
    weights: Path | None = None  # the file of initial weights, if the spec names an unpublished file
    surrogate: Path | None = None  # the checkpoint that attacks transfer from, if the evaluation names one
    checkpoint_every: float = 300  # seconds between two stored states of a training
    micro_batch: int | None = None  # images propagated at once in training; None: the whole batch
    tensorboard: bool = False  # write scalars of a training for TensorBoard

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise RbdmlError(f"batch size {self.batch_size} is not positive: attack at least one image at once")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise RbdmlError(f"micro-batch {self.micro_batch} is not positive: propagate at least one image at once")
        if self.tensorboard:
            needed()

    def folder(self, spec: RunSpec | ExternalSpec) -> RunFolder:
        """Return the folder of a run."""
        return RunFolder(self.out, spec)

    def surrogate_model(self, evaluation: Evaluation, dataset: Dataset) -> nn.Module | None:
        """Return the model that attacks transfer from, or None if the evaluation has no surrogate.

        Raises:
            RbdmlError: the checkpoint is not the surrogate of this evaluation, or takes other images.
        """
        wanted = evaluation.surrogate
        if wanted is None:
            return None
        if self.surrogate is None:
            raise RbdmlError(
                f"this evaluation transfers from the surrogate {wanted}: give its checkpoint with --surrogate"
            )
        if weights_hash(self._surrogate.embedder)[:16] != wanted:
            raise RbdmlError(f"{self.surrogate} is not the surrogate {wanted} of this evaluation: give that one")
        network = BACKBONES.get(self._surrogate.spec.backbone)
        if not network.takes(dataset.image_shape):
            raise RbdmlError(
                f"the surrogate {self.surrogate} takes {network.input} images and '{dataset.name}' has "
                f"{'x'.join(map(str, dataset.image_shape))}: give one that was trained on such images"
            )
        return self._surrogate.model

    @cached_property
    def _surrogate(self) -> Checkpoint:
        assert self.surrogate is not None
        return load_checkpoint(self.surrogate, device=self.device)


def run_context(words: Mapping[str, Any], *, quiet: bool) -> RunContext:
    """Make the context of a run from its words.

    Args:
        words: options with underscores; options left out have the defaults of the table.
        quiet: no progress bars.

    Raises:
        RbdmlError: an unknown or missing device, a batch size below 1, or an invalid time.
    """
    values = {option.word: option.default for option in OPTIONS if option.part == CONTEXT}
    values |= {name: value for name, value in words.items() if value is not None}
    progress = Progress(quiet)
    paths = DataPaths(_path(values["data_root"]), bool(values["download"]), not values["no_cache"], progress)
    return RunContext(
        out=Path(values["out"]),
        paths=paths,
        device=pick_device(values["device"]),
        batch_size=values["batch_size"],
        progress=progress,
        weights=_path(values.get("weights")),
        surrogate=_path(values.get("surrogate")),
        checkpoint_every=parse_seconds(values["checkpoint_every"]),
        micro_batch=values.get("micro_batch"),
        tensorboard=bool(values["tensorboard"]),
    )


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
