"""The last two training states on disk, so that a damaged file costs little."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from robustbench_dml.utils.errors import RbdmlError

RESUME_FILE = "resume.safetensors"


def resume_files(path: Path) -> tuple[Path, Path]:
    """Paths of the newest state and of the state before it."""
    return path, path.with_stem(f"{path.stem}-before")


def save_newest(path: Path, save: Callable[[Path], object]) -> None:
    """Write the newest state and keep the previous one. An interruption at any moment leaves a complete state.

    Args:
        path: path of the newest state.
        save: writes a state to a path atomically.
    """
    newest, before = resume_files(path)
    if newest.exists():
        newest.replace(before)
    save(newest)


def load_newest(path: Path, load: Callable[[Path], object], warn: Callable[[str], object]) -> bool:
    """Load the newest readable state and remove a newer unreadable one. Returns False if there is no state.

    Args:
        path: path of the newest state.
        load: restores a state. It checks the whole file before it changes anything.
        warn: prints a warning about an unreadable state.

    Raises:
        RbdmlError: states exist and none is readable. The message is about the newest.
    """
    failures: dict[Path, RbdmlError] = {}
    for candidate in filter(Path.exists, resume_files(path)):
        try:
            load(candidate)
        except RbdmlError as error:
            failures[candidate] = error
            continue
        for unusable, failure in failures.items():
            warn(f"{failure}; going on from the one before it")
            # Otherwise `save_newest` would replace the good state by this one. Every process removes it.
            unusable.unlink(missing_ok=True)
        return True
    if failures:
        raise next(iter(failures.values()))
    return False
