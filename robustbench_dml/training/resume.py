"""The last two states of a training on disk, so that one that is torn or rotten loses little."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from robustbench_dml.utils.errors import RbdmlError

RESUME_FILE = "resume.safetensors"


def resume_files(path: Path) -> tuple[Path, Path]:
    """The newest state, and the one before it."""
    return path, path.with_stem(f"{path.stem}-before")


def keep(path: Path, save: Callable[[Path], object]) -> None:
    """Write the newest state and keep the one before it. Whenever this is cut off, a whole one is left.

    Args:
        path: of the newest.
        save: writes a state to a path, atomically.
    """
    newest, before = resume_files(path)
    if newest.exists():
        newest.replace(before)
    save(newest)


def take_up(path: Path, load: Callable[[Path], object], say: Callable[[str], object]) -> bool:
    """Load the newest state that can be loaded, and remove a newer one that cannot; returns whether there was any.

    Args:
        path: of the newest.
        load: takes up a state; it changes nothing before it has checked the whole file.
        say: is told of one that cannot be used where another one can.

    Raises:
        RbdmlError: there are states and none can be loaded; it is about the newest.
    """
    failures: dict[Path, RbdmlError] = {}
    for candidate in (one for one in resume_files(path) if one.exists()):
        try:
            load(candidate)
        except RbdmlError as error:
            failures[candidate] = error
            continue
        for unusable, failure in failures.items():
            say(f"{failure}; going on from the one before it")
            # Else the next state that is kept would push it into the place of the good one. Every process does this.
            unusable.unlink(missing_ok=True)
        return True
    if failures:
        raise next(iter(failures.values()))
    return False
