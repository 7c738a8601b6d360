"""The process that suffers: `rbdml` with a journal of its phases and writes, and a fault at a chosen one of these.

A write is every step that changes the folder of records: opening a file to write, syncing, renaming, removing, making
a folder. They are numbered in their order, which a run of the same state on one thread repeats.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch import Tensor

from robustbench_dml.cli import main as cli
from robustbench_dml.evaluation.attack import Attack
from robustbench_dml.evaluation.context import AttackContext
from robustbench_dml.evaluation.evaluate import evaluate_model
from robustbench_dml.report import run_report as board
from robustbench_dml.retrieval.gallery import Items
from robustbench_dml.runs import pipeline
from robustbench_dml.training.batches import Batch
from robustbench_dml.training.testing import small_dataset
from robustbench_dml.training.trainer import Trainer

PHASES = ("starting", "training", "evaluation", "writing", "drawing")
BALLAST = "ballast"  # fills the disk
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")  # events of Python's audit


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What is to be done and what shall go wrong.

    Attributes:
        words: after `rbdml`.
        out: the folder that is watched.
        journal: a file that tells of each phase and each write, whatever becomes of the process.
        printed: a file for what it prints; None for where this process prints.
        small: on 60 small images in place of the data set.
        draws: whether the plots are drawn.
        strike: the write before which `number` is sent; None for none.
        number: of the signal.
        full_in: the phase at the begin of which the disk fills.
        room: bytes that are then left.
    """

    words: tuple[str, ...]
    out: str
    journal: str
    printed: str | None = None
    small: bool = False
    draws: bool = True
    strike: int | None = None
    number: int = signal.SIGKILL
    full_in: str | None = None
    room: int = 0

    def text(self) -> str:
        """For another process."""
        return json.dumps(asdict(self))


def suffer(orders: Orders) -> None:
    """Do a command of `rbdml` under these orders; ends as that does, by SystemExit or a signal."""
    if orders.printed is not None:
        with Path(orders.printed).open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    journal = Journal(orders)
    _mark_phases(journal, orders)
    _mark_work(journal)
    if orders.small:
        patch.object(pipeline, "load_dataset", lambda *_: small_dataset()).start()
    sys.addaudithook(journal.hear)
    patch.object(os, "fsync", journal.around_sync(os.fsync)).start()
    sys.argv = ["rbdml", *orders.words]
    cli.main()


class Journal:
    """Lines of `seconds phase NAME`, `seconds work WHAT` and `seconds write WHAT FILE`, on a clock that all share."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._out = Path(orders.out).resolve()
        self._file = os.open(orders.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._writes = 0
        self._busy = True
        self.phase("starting")
        self._busy = False

    def phase(self, name: str) -> None:
        """A phase begins."""
        self._line(f"phase {name}")
        if name == self._orders.full_in:
            self._fill()

    def work(self, what: str) -> None:
        """An iteration or an attack on a block of queries begins."""
        self._line(f"work {what}")

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An event of Python's audit, before it happens."""
        if self._busy:  # of our own
            return
        if event in CHANGES:
            self._write(event.removeprefix("os."), arguments[0], arguments[-1])
        elif event == "open" and isinstance(arguments[0], str) and _writes(arguments[1], arguments[2]):
            self._write("open", arguments[0], -1)

    def around_sync(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        """`os.fsync`, which has no event; a strike before it leaves half of the file, as one while it is written."""

        def synced(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}")
            self._write("sync", path.readlink(), -1, torn=descriptor if path.is_file() else None)
            sync(descriptor)

        return synced

    def _write(self, what: str, path: str | os.PathLike[str], folder: int, *, torn: int | None = None) -> None:
        self._busy = True
        try:
            above = Path() if folder < 0 else Path(f"/proc/self/fd/{folder}").readlink()
            whole = (above / path).resolve()
            if not whole.is_relative_to(self._out):
                return
            strike = self._writes == self._orders.strike
            self._line(f"write {what} {whole.relative_to(self._out)}")
            self._writes += 1
            if strike and torn is not None and self._orders.number == signal.SIGKILL:
                os.ftruncate(torn, os.fstat(torn).st_size // 2)
        finally:
            self._busy = False
        if strike:
            os.kill(os.getpid(), self._orders.number)

    def _line(self, text: str) -> None:
        os.write(self._file, f"{time.monotonic():.6f} {text}\n".encode())

    def _fill(self) -> None:
        self._busy = True
        with (self._out / BALLAST).open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        os.truncate(file.name, Path(file.name).stat().st_size - self._orders.room)
        self._busy = False


def _writes(mode: str | None, flags: int) -> bool:
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) or any(one in (mode or "r") for one in "wax+")


def _mark_phases(journal: Journal, orders: Orders) -> None:
    """Training is what the trainer does, evaluation what follows it, writing and drawing what they are called."""
    train, evaluate, draw = Trainer.run, evaluate_model, board.draw

    def trained(*arguments: Any, **named: Any) -> None:
        journal.phase("training")
        train(*arguments, **named)
        journal.phase("evaluation")

    def evaluated(*arguments: Any, **named: Any) -> Any:
        found = evaluate(*arguments, **named)
        journal.phase("writing")
        return found

    def drawn(*arguments: Any, **named: Any) -> Any:
        journal.phase("drawing")
        return draw(*arguments, **named) if orders.draws else []

    patch.object(Trainer, "run", trained).start()
    patch.object(pipeline, "evaluate_model", evaluated).start()
    patch.object(board, "draw", drawn).start()


def _mark_work(journal: Journal) -> None:
    batch, attack = Trainer.batch, AttackContext.attack

    def batched(trainer: Trainer, iteration: int) -> Batch:
        journal.work("iteration")
        return batch(trainer, iteration)

    def attacked(context: AttackContext, which: Attack, name: str, items: Items) -> dict[str, Tensor]:
        journal.work("attack")
        return attack(context, which, name, items)

    patch.object(Trainer, "batch", batched).start()
    patch.object(AttackContext, "attack", attacked).start()


if __name__ == "__main__":
    suffer(Orders(**json.loads(sys.argv[1])))
