"""A run as one process hands it to another: the spec, where it happens, and the user's files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import torch

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.runs.context import RunContext
from robustbench_dml.spec.lookup import FILE_MODULE, load_module
from robustbench_dml.spec.schema import Frozen, RunSpec
from robustbench_dml.utils.device import pick_device
from robustbench_dml.utils.progress import Progress

PROGRAM = (sys.executable, "-P", "-m", "robustbench_dml.runs.child")


class Share(Frozen):
    """A process's position among the processes that do a run together."""

    rank: int
    processes: int
    rendezvous: Path  # a file that does not exist yet, the same for all; messages are left beside it

    @property
    def message(self) -> Path:
        """The file for this process's message to the user."""
        return self.rendezvous.with_name(f"message-{self.rank}")


class Task(Frozen):
    """Everything that the child program needs for a run. Paths are absolute."""

    spec: RunSpec
    out: Path
    data_root: Path | None = None
    download: bool = False
    cache: bool = True
    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch_size: int = 128
    checkpoint_every: float = 300
    tensorboard: bool = False
    quiet: bool = False
    force: bool = False
    files: tuple[Path, ...] = ()  # Python files that register the defense or attacks of the spec
    weights: Path | None = None
    surrogate: Path | None = None
    share: Share | None = None

    @classmethod
    def of(cls, spec: RunSpec, context: RunContext, *, force: bool = False) -> Task:
        """Return the task of a run in this process's context, with the user's files that this process loaded."""
        paths = context.paths
        return cls(
            spec=spec,
            out=context.out.absolute(),
            data_root=absolute(paths.data_root),
            download=paths.download,
            cache=paths.cache,
            device="cuda" if context.device.type == "cuda" else "cpu",
            batch_size=context.batch_size,
            checkpoint_every=context.checkpoint_every,
            tensorboard=context.tensorboard,
            quiet=context.progress.quiet,
            force=force,
            files=tuple(Path(name.removeprefix(FILE_MODULE)) for name in sys.modules if name.startswith(FILE_MODULE)),
            weights=absolute(context.weights),
            surrogate=absolute(context.surrogate),
        )

    @property
    def words(self) -> tuple[str, ...]:
        """The command line of the child program."""
        return (*PROGRAM, self.model_dump_json())

    def load_files(self) -> None:
        """Import the user's files, so that their defenses and attacks are registered.

        Raises:
            RbdmlError: a file is missing or fails.
        """
        for file in self.files:
            load_module(file)

    def context(self) -> RunContext:
        """Return where the run happens. If several processes share a run, only the first shows progress."""
        device, rank = pick_device(self.device), 0 if self.share is None else self.share.rank
        if self.share is not None and device.type == "cuda":
            device = torch.device("cuda", rank)
            torch.cuda.set_device(device)
        progress = Progress(self.quiet or rank > 0)
        return RunContext(
            out=self.out,
            paths=DataPaths(self.data_root, self.download, self.cache, progress),
            device=device,
            batch_size=self.batch_size,
            progress=progress,
            weights=self.weights,
            surrogate=self.surrogate,
            checkpoint_every=self.checkpoint_every,
            tensorboard=self.tensorboard,
        )


def absolute(path: str | Path | None) -> Path | None:
    """Return a path that is valid in any folder."""
    return None if path is None else Path(path).expanduser().absolute()
