"""Locks between processes, and the number of cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from robustbench_dml.utils.errors import BusyError
from robustbench_dml.utils.progress import Progress

PATIENCE = 0.3  # seconds: a process that only tests a lock holds it for an instant


def usable_cores() -> int:
    """Return the cores that this process may use; the machine can have more."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def exclusive_or_wait(lock: Path, what: str, progress: Progress) -> Iterator[None]:
    """Prepare something in one process alone. Report and wait while another process does it.

    Args:
        lock: a file; its folder is made if it is missing.
        what: the thing that is prepared, for the message.
        progress: prints the message.

    Raises:
        OSError: the file cannot be written.
    """

    lock.parent.mkdir(parents=True, exist_ok=True)
    waiting = FileLock(lock)
    try:
        held = waiting.acquire(timeout=0)
    except Timeout:
        progress.say(f"another process is preparing '{what}': waiting for it")
        held = waiting.acquire()
    with held:
        yield


@contextmanager
def exclusive_or_fail(lock: Path, refusal: str) -> Iterator[None]:
    """Hold a lock, or refuse if a process on any machine that sees the file holds it.

    The system releases the lock of a process that dies. The file stays: removing it could let two processes in.

    Args:
        lock: a file; its folder is made if it is missing.
        refusal: message for the user.

    Raises:
        BusyError: another process holds it.
        OSError: the file cannot be written.
    """

    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(lock).acquire(timeout=PATIENCE)
    except Timeout:
        raise BusyError(refusal) from None
    with held:
        yield
