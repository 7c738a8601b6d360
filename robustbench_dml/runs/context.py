"""Where and on what a run happens."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.spec.schema import ExternalSpec, RunSpec
from robustbench_dml.training.tensorboard import needed
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.progress import Progress


@dataclass(frozen=True)
class RunContext:
    """Where and on what a run happens; nothing here changes its result beyond rounding.

    Attributes:
        out: records go to `out/<data set>/<digest of the spec>/`.
        paths: where data is looked for.
        device: what computes.
        batch_size: images attacked at once in the evaluation.
        progress: bars.
        weights: the file of weights that training starts from, where it is not a published one.
        surrogate: the checkpoint that attacks transfer from, where the evaluation names one.
        checkpoint_every: seconds between the states of a training that are kept.
        tensorboard: write scalars of a training for TensorBoard.
    """

    out: Path
    paths: DataPaths
    device: torch.device
    batch_size: int = 128
    progress: Progress = field(default_factory=lambda: Progress(quiet=True))
    weights: Path | None = None
    surrogate: Path | None = None
    checkpoint_every: float = 300
    tensorboard: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise RbdmlError(f"batch size {self.batch_size} is not positive: attack at least one image at once")
        if self.tensorboard:
            needed()

    def folder(self, spec: RunSpec | ExternalSpec) -> Path:
        """Where the record of this spec is or will be."""
        return self.out / spec.dataset_folder / spec.digest
