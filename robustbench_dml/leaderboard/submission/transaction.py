"""Changing what lies below `leaderboards/`: all of it is prepared, then renamed into place, or nothing is."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from robustbench_dml.leaderboard.entries import HISTORY, Ended, Listed, write_entry
from robustbench_dml.leaderboard.submission.audit import SHORT
from robustbench_dml.leaderboard.submission.claims import line_problem
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.interrupts import deferred_interrupts
from robustbench_dml.utils.provenance import now


@dataclass(frozen=True)
class Change:
    """One file or folder that is put, replaced or removed.

    Attributes:
        target: where it goes; what is there goes.
        fill: makes it at another path first; None to remove.
    """

    target: Path
    fill: Callable[[Path], object] | None


def lock_of(leaderboards: Path) -> Path:
    """A file that one writer at a time holds; outside of the folder, which holds nothing but entries."""
    name = hashlib.sha256(str(leaderboards.resolve()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"rbdml-{name}.lock"


def carry_out(changes: Sequence[Change], leaderboards: Path) -> None:
    """Make all changes, or none.

    Raises:
        RbdmlError: no room or no permission; everything is as it was.
    """
    work, done = leaderboards / f".submission.{os.getpid()}", False
    try:
        work.mkdir()
        for place, change in enumerate(changes):
            if change.fill is not None:
                change.fill(work / f"new-{place}")
        with deferred_interrupts():
            _swap(changes, work)
        done = True
    except OSError as error:
        raise RbdmlError(
            f"cannot write below {leaderboards} ({error.strerror}): free some space or get permission; nothing was "
            "changed"
        ) from None
    finally:
        if done or not list(work.glob("old-*")):  # what could not be put back is not thrown away
            shutil.rmtree(work, ignore_errors=True)


def _swap(changes: Sequence[Change], work: Path) -> None:
    """Rename everything into place; after a failure, back again in the reverse order."""
    undo: list[Callable[[], object]] = []
    try:
        for place, change in enumerate(changes):
            target, old, new = change.target, work / f"old-{place}", work / f"new-{place}"
            for folder in _missing(target.parent):
                folder.mkdir()
                undo.append(folder.rmdir)
            if target.exists():
                undo.append(partial(_back, old, target))  # before it is moved: an interrupt can come right after
                target.rename(old)
            if change.fill is not None:
                undo.append(partial(_back, target, new))
                new.rename(target)
    except BaseException:
        for step in reversed(undo):
            step()
        raise


def _back(moved: Path, original: Path) -> None:
    if moved.exists() and not original.exists():
        moved.rename(original)


def _missing(folder: Path) -> list[Path]:
    """The folders that have to be made, outer ones first."""
    return [one for one in (*reversed(folder.parents), folder) if not one.exists()]


def ended(listed: Listed, leaderboards: Path, end: Ended) -> tuple[Change, Change]:
    """An entry moved to the history, with why: the new place first."""

    def fill(folder: Path) -> None:
        shutil.copytree(listed.folder, folder)
        write_entry(folder, listed.entry.model_copy(update={"ended": end}))

    record = listed.record
    history = leaderboards / record.spec.dataset_folder / HISTORY
    name = f"{record.digest}-{record.provenance.weights[:SHORT]}"
    taken = len(list(history.glob(f"{name}*")))  # the same weights can be entered and withdrawn again
    return Change(history / (f"{name}-{taken + 1}" if taken else name), fill), Change(listed.folder, None)


def end_of(how: Literal["revised", "withdrawn"], why: str) -> Ended:
    """The note for the history.

    Raises:
        RbdmlError: `why` is no plain line.
    """
    problem = line_problem(why) if why.strip() else "says nothing"
    if problem:
        raise RbdmlError(f"--why {why[:60]!r} {problem}: give one plain line for the history")
    return Ended(created=now(), how=how, why=why)
