"""A run that is interrupted, given again, and compared with one that was not."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from cli_support import FORECAST
from faults.victim import PHASES, Orders, suffer

from robustbench_dml.runs.folder import LOCKS
from robustbench_dml.runs.record import CHECKPOINT_FILE, RECORD_FILE, read_queries, record_folders
from robustbench_dml.utils.tensors import read_tensors

SMALL = ("--backbone", "test-linear", "--budget", "150", "--pairs", "6", "--checkpoint-every", "0s")
WHOLE = ("--budget", "400", "--pairs", "16", "--checkpoint-every", "0.3s")
EVALUATION = ("--protocol", "ers", "--queries", "12", "--batch-size", "6", "--attack-steps", "2")
OF_TIME = ("cost.spent.seconds", "cost.peak_memory_bytes", "provenance.created")
POLL = 0.001  # seconds


class Process(Protocol):
    """A run under way."""

    @property
    def pid(self) -> int | None:
        """Its number."""

    def wait(self) -> int | None:
        """Its exit code, minus the signal that ended it."""


class Forked:
    """A fork of a process that has imported everything: seconds sooner than one of its own, else the same."""

    def __init__(self, orders: Orders) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["faults.warm"])
        self._process = context.Process(target=suffer, args=(orders,))
        self._process.start()
        self.pid = self._process.pid

    def wait(self) -> int | None:
        """See `Process`."""
        self._process.join()
        return self._process.exitcode


def started(orders: Orders) -> Process:
    """A process of its own."""
    return subprocess.Popen([sys.executable, "-m", "faults.victim", orders.text()])


@dataclass(frozen=True)
class Timeline:
    """What a journal tells.

    Attributes:
        phases: that were reached, with when, in seconds.
        writes: the phase of each, what it was and to which file.
        work: how many iterations, and how many attacks on a block of queries.
    """

    phases: dict[str, float]
    writes: list[tuple[str, ...]]
    work: Counter[str]

    @property
    def phase(self) -> str:
        """The last one."""
        return list(self.phases)[-1] if self.phases else PHASES[0]

    @property
    def seconds(self) -> dict[str, float]:
        """How long each phase took that another one followed."""
        return {one: then - now for (one, now), (_, then) in pairwise(self.phases.items())}

    def writes_in(self, *phases: str) -> list[int]:
        """The numbers of the writes in these phases."""
        return [number for number, (phase, *_) in enumerate(self.writes) if phase in phases]


def timeline(journal: Path) -> Timeline:
    """Read a journal, of which the last line may be in the making."""
    phases: dict[str, float] = {}
    writes: list[tuple[str, ...]] = []
    work = Counter[str]()
    text = journal.read_text() if journal.exists() else ""
    for line in text[: text.rfind("\n") + 1].splitlines():
        seconds, kind, what, *file = line.split(" ", 3)
        if kind == "phase":
            phases[what] = float(seconds)
        elif kind == "work":
            work[what] += 1
        else:
            writes.append((list(phases)[-1], what, *file))
    return Timeline(phases, writes, work)


@dataclass(frozen=True)
class Ended:
    """How an attempt ended.

    Attributes:
        code: of the exit, or minus the signal.
        printed: by it, without the line in which a run states its cost.
        timeline: of it.
    """

    code: int | None
    printed: str
    timeline: Timeline


@dataclass(frozen=True)
class Result:
    """What a run came to, of which nothing may depend on interruptions.

    Attributes:
        weights: the bytes of each tensor of its checkpoint.
        values: of its record, by their dotted names, but for what is of time.
        queries: the bytes of each array of values per query.
        files: of its folder, and what is unfinished beside it.
    """

    weights: dict[str, bytes]
    values: dict[str, Any]
    queries: dict[str, bytes]
    files: list[str]

    def differences(self, other: Result) -> list[str]:
        """In what the other one is another."""
        return [
            f"{part}: {name}"
            for part in ("weights", "values", "queries")
            for mine, theirs in [(getattr(self, part), getattr(other, part))]
            for name in sorted(mine.keys() | theirs.keys())
            if name not in mine or name not in theirs or mine[name] != theirs[name]
        ] + [f"files: {name}" for name in sorted(set(self.files) ^ set(other.files))]


@dataclass
class Trial:
    """One folder in which the same command is given again and again.

    Attributes:
        folder: of everything.
        defense: trained.
        small: on 60 small images and one linear layer, each state written; else `glyphs-mini` and its network.
        start: starts a process.
        more: options of the command.
        draws: whether it draws its plots, which takes longer than a small run.
    """

    folder: Path
    defense: str = "hm-lga-ics"
    small: bool = True
    start: Callable[[Orders], Process] = Forked
    more: tuple[str, ...] = ()
    draws: bool = True
    attempts: int = field(default=0, init=False)

    @property
    def out(self) -> Path:
        """Where the records are."""
        return self.folder / "runs"

    @property
    def words(self) -> tuple[str, ...]:
        """The command."""
        settings = (*(SMALL if self.small else WHOLE), *EVALUATION, "--eta", "2", "--device", "cpu")
        chosen = ("--defense", self.defense, "--dataset", "glyphs-mini", "--out", str(self.out))
        return ("run", *chosen, *settings, *self.more)

    def attempt(self, *, kill_in: tuple[str, float] | None = None, **orders: Any) -> Ended:
        """Give the command.

        Args:
            kill_in: a phase, and how many seconds into it the process is killed.
            orders: see `Orders`.
        """
        self.attempts += 1
        self.out.mkdir(parents=True, exist_ok=True)
        journal, printed = (self.folder / f"{name}-{self.attempts}" for name in ("journal", "printed"))
        for file in (journal, printed):
            file.unlink(missing_ok=True)
            file.touch()
        orders |= {"out": str(self.out), "journal": str(journal), "printed": str(printed)}
        process = self.start(Orders(words=self.words, small=self.small, draws=self.draws, **orders))
        if kill_in is not None:
            _kill(process, journal, *kill_in)
        code = process.wait()
        return Ended(code, FORECAST.sub("", printed.read_text()), timeline(journal))

    @property
    def folder_of_record(self) -> Path:
        """Where the one record is."""
        [folder] = record_folders(self.out)
        return folder

    def result(self) -> Result:
        """What it came to."""
        folder = self.folder_of_record
        tensors, _ = read_tensors(folder / CHECKPOINT_FILE)
        values = dict(_flat(json.loads((folder / RECORD_FILE).read_text())))
        unfinished = [one.name for one in folder.parent.iterdir() if one.is_dir() and one.name.startswith(".")]
        return Result(
            weights={name: tensor.numpy().tobytes() for name, tensor in tensors.items()},
            values={name: value for name, value in values.items() if name not in OF_TIME},
            queries={name: values.tobytes() for name, values in read_queries(folder).items()},
            files=[one.name for one in folder.iterdir()] + unfinished,
        )

    def kept(self, name: str) -> Path:
        """A file that an interrupted run goes on from."""
        [path] = self.out.rglob(name)
        return path

    def copy(self, folder: Path) -> Trial:
        """The same state elsewhere, but for locks, which nobody holds."""
        copied = replace(self, folder=folder)
        shutil.copytree(self.out, copied.out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(LOCKS))
        return copied


def _kill(process: Process, journal: Path, phase: str, seconds: float) -> None:
    """Kill a process so many seconds after the begin of a phase, or of one behind it; or it has ended before."""
    assert process.pid is not None
    later = PHASES[PHASES.index(phase) :]
    while not (begun := [then for one, then in timeline(journal).phases.items() if one in later]):
        if _ended(process.pid):
            return
        time.sleep(POLL)
    time.sleep(max(0.0, begun[0] + seconds - time.monotonic()))
    if not _ended(process.pid):
        os.kill(process.pid, signal.SIGKILL)


def _ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie that its parent has not asked for yet."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _flat(values: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested dictionaries and lists by dotted names."""
    if isinstance(values, dict | list) and values:
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, values
