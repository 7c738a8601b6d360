"""Changes of the leaderboards that happen together or not at all: prepared first, then renamed to their targets."""

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

from robustbench_dml.leaderboard.entries import HISTORY, SHORT, Ended, Listed, write_entry
from robustbench_dml.leaderboard.submission.claims import line_problem
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.interrupts import deferred_interrupts
from robustbench_dml.utils.provenance import now


@dataclass(frozen=True)
class Change:
    """A file or folder to write, replace or remove."""

    target: Path  # an older file or folder there is removed
    fill: Callable[[Path], object] | None  # writes the content to another path first; None to remove


def lock_file(leaderboards: Path) -> Path:
    """Return the file that one writer at a time locks. It lies outside the leaderboards, which hold only entries."""
    name = hashlib.sha256(str(leaderboards.resolve()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"rbdml-{name}.lock"


def apply(changes: Sequence[Change], leaderboards: Path) -> None:
    """Make all changes, or none.

    Raises:
        RbdmlError: no space or no permission; everything is as before.
    """
    work, done = leaderboards / f".submission.{os.getpid()}", False
    try:
        work.mkdir()
        for number, change in enumerate(changes):
            if change.fill is not None:
                change.fill(work / f"new-{number}")
        with deferred_interrupts():
            _swap(changes, work)
        done = True
    except OSError as error:
        raise RbdmlError(
            f"cannot write below {leaderboards} ({error.strerror}): free some space or get permission; nothing was "
            "changed"
        ) from None
    finally:
        if done or not list(work.glob("old-*")):  # an original that could not be restored is kept
            shutil.rmtree(work, ignore_errors=True)


def _swap(changes: Sequence[Change], work: Path) -> None:
    """Rename everything to its target; after a failure, undo the renames in reverse order."""
    undo: list[Callable[[], object]] = []
    try:
        for number, change in enumerate(changes):
            target, old, new = change.target, work / f"old-{number}", work / f"new-{number}"
            for folder in (*reversed(target.parent.parents), target.parent):
                if not folder.exists():
                    folder.mkdir()
                    undo.append(folder.rmdir)
            if target.exists():
                undo.append(partial(_restore, old, target))  # before an interrupt can follow the rename
                target.rename(old)
            if change.fill is not None:
                undo.append(partial(_restore, target, new))
                new.rename(target)
    except BaseException:
        for step in reversed(undo):
            step()
        raise


def _restore(moved: Path, original: Path) -> None:
    if moved.exists() and not original.exists():
        moved.rename(original)


def move_to_history(listed: Listed, leaderboards: Path, note: Ended) -> tuple[Change, Change]:
    """Move an entry to the history, with the reason. The first change makes the new folder."""

    def fill(folder: Path) -> None:
        shutil.copytree(listed.folder, folder)
        write_entry(folder, listed.entry.model_copy(update={"ended": note}))

    record = listed.record
    history = leaderboards / record.spec.dataset_folder / HISTORY
    name = f"{record.digest}-{record.provenance.weights[:SHORT]}"
    taken = len(list(history.glob(f"{name}*")))  # the same weights can be entered and withdrawn again
    return Change(history / (f"{name}-{taken + 1}" if taken else name), fill), Change(listed.folder, None)


def history_note(how: Literal["revised", "withdrawn"], why: str) -> Ended:
    """Make the note for the history.

    Raises:
        RbdmlError: `why` is not a plain line.
    """
    problem = line_problem(why) if why.strip() else "is empty"
    if problem:
        raise RbdmlError(f"--why {why[:60]!r} {problem}: give one plain line for the history")
    return Ended(created=now(), how=how, why=why)
