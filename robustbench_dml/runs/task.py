"""A run as one process hands it to another: the spec, the options of its context, and the user's files."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from robustbench_dml.runs.context import RunContext, run_context
from robustbench_dml.spec.lookup import IN_A_FILE, load_module
from robustbench_dml.spec.options import CONTEXT, OPTIONS, Kind
from robustbench_dml.spec.schema import Frozen, RunSpec
from robustbench_dml.utils.distributed import Member
from robustbench_dml.utils.progress import Progress

PROGRAM = (sys.executable, "-P", "-m", "robustbench_dml.runs.child")


class Share(Frozen):
    """A process's position among the processes that do a run together."""

    rank: int
    processes: int
    rendezvous: Path  # a file that does not exist yet, the same for all; messages are left beside it

    @property
    def member(self) -> Member:
        """This process among the others, all on this machine."""
        return Member(self.rank, self.processes, f"file://{self.rendezvous}", self.rank)

    @property
    def message(self) -> Path:
        """The file for this process's message to the user."""
        return self.rendezvous.with_name(f"message-{self.rank}")


class Task(Frozen):
    """Everything that the child program needs for a run. Paths are absolute."""

    spec: RunSpec
    options: dict[str, Any]  # the options of `run_context`
    checkpoint: Path | None = None  # weights to evaluate under the spec; None: a run, which trains them
    quiet: bool = False
    force: bool = False
    files: tuple[Path, ...] = ()  # Python files that register the defense or attacks of the spec
    share: Share | None = None
    devices: int = 1  # processes that the child program starts for the run

    @classmethod
    def of(
        cls,
        spec: RunSpec,
        words: Mapping[str, Any],
        *,
        checkpoint: Path | None = None,
        quiet: bool = False,
        force: bool = False,
    ) -> Task:
        """Return the task of the spec that these words of `rbdml run` make, or of a checkpoint under the spec."""
        words = anywhere(words)
        names = (words.get("defense") or "", *(words.get("extra_attack") or ()))
        named = map(IN_A_FILE.fullmatch, names)
        return cls(
            spec=spec,
            options={
                option.word: words[option.word]
                for option in OPTIONS
                if (option.part == CONTEXT or option.kind is Kind.PATH) and words.get(option.word) is not None
            },
            checkpoint=None if checkpoint is None else checkpoint.absolute(),
            quiet=quiet,
            force=force,
            files=tuple(Path(in_file[1]) for in_file in named if in_file),
        )

    def on_devices(self, devices: int) -> Task:
        """Return the task for as many processes."""
        return self.model_copy(update={"devices": devices})

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
        """Return where the run happens."""
        context = run_context(self.options, quiet=self.quiet)
        return context if self.share is None else of_member(context, self.share.member)


def of_member(context: RunContext, member: Member) -> RunContext:
    """Return the context on the member's device. If several processes share a run, only the first shows progress."""
    if member.rank > 0:
        context = replace(context, progress=Progress(quiet=True), paths=replace(context.paths, progress=Progress(True)))
    if context.device.type != "cuda":
        return context
    device = torch.device("cuda", member.local % torch.cuda.device_count())  # srun may show each process its own
    torch.cuda.set_device(device)
    return replace(context, device=device)


def anywhere(words: Mapping[str, Any]) -> dict[str, Any]:
    """Return the words of a run with absolute paths, which are valid in any folder."""
    paths = {option.word for option in OPTIONS if option.kind is Kind.PATH}
    return {
        word: _absolute(value) if word in paths and value is not None else _in_a_file(value)
        for word, value in words.items()
    }


def _in_a_file(value: Any) -> Any:
    """Make the path in `file.py:NAME` absolute, also in a list."""
    if isinstance(value, list | tuple):
        return [_in_a_file(one) for one in value]
    in_file = IN_A_FILE.fullmatch(value) if isinstance(value, str) else None
    return f"{_absolute(in_file[1])}:{in_file[2]}" if in_file else value


def _absolute(path: str | Path) -> str:
    return str(Path(path).expanduser().absolute())
