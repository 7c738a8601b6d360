"""How many things may be done at once, and which by one process alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from filelock import FileLock, Timeout

from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.progress import Progress

PATIENCE = 0.3  # seconds: who only looks whether a lock is held takes it for an instant


def usable_cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def exclusive_or_wait(lock: Path, what: str, progress: Progress) -> Iterator[None]:
    """Be the one process that prepares something; wait, and say so, where another one does.

    Args:
        lock: a file; its folder is made where it is missing.
        what: is prepared, for the message.
        progress: says it.

    Raises:
        OSError: the file cannot be written.
    """

    def wait(held: FileLock) -> None:
        progress.say(f"another process is preparing '{what}': waiting for it")
        held.acquire()

    with _holding(lock, wait):
        yield


@contextmanager
def exclusive_or_fail(lock: Path, refusal: str) -> Iterator[None]:
    """Be the one process that does something; refuse where another one does it, on any machine that sees the file.

    The system releases the lock of a process that dies, however it dies. The file stays: who removed it could let two
    in.

    Args:
        lock: a file; its folder is made where it is missing.
        refusal: for the user.

    Raises:
        RbdmlError: another process holds it.
        OSError: the file cannot be written.
    """

    def refuse(_: FileLock) -> NoReturn:
        raise RbdmlError(refusal) from None

    with _holding(lock, refuse, patience=PATIENCE):
        yield


@contextmanager
def _holding(lock: Path, taken: Callable[[FileLock], None], *, patience: float = 0) -> Iterator[None]:
    """Hold a lock; `taken` is called where another process holds it for so many seconds, and gets it or raises."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=patience)
    except Timeout:
        taken(held)
    try:
        yield
    finally:
        held.release()
