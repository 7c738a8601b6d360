"""Text lists of data sets, and the search for their folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.utils.errors import MissingDataError, RbdmlError
from robustbench_dml.utils.files import read_at_most

DIGITS = 18  # numbers with more digits may not fit 64 bits
MOST = 100_000_000  # bytes of a list, 30 times the longest list, of Stanford Online Products


def read_table(path: Path, columns: int, *, header: bool = False) -> list[list[str]]:
    """Read lines of columns separated by white space. The last column may contain blanks.

    Raises:
        RbdmlError: missing, not text, or a line with fewer columns.
    """
    try:
        lines = read_at_most(path, MOST).decode("utf-8-sig").splitlines()
    except OSError as error:
        raise RbdmlError(f"{path}: cannot be read ({error.strerror}): get a complete copy of the set") from None
    except UnicodeDecodeError:
        raise RbdmlError(f"{path}: not a text file: get a fresh copy of it") from None
    rows = []
    for number, line in enumerate(lines[int(header) :], start=1 + int(header)):
        row = line.split(maxsplit=columns - 1)
        if row and len(row) < columns:
            raise RbdmlError(f"{path}, line {number}: {len(row)} columns instead of {columns}: get a fresh copy of it")
        if row:
            rows.append(row)
    return rows


def whole_number(text: str, path: Path) -> int:
    """Parse an integer of a list.

    Raises:
        RbdmlError: another text.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= DIGITS):
        raise RbdmlError(f"{path}: '{text[:40]}' stands where a number should: get a fresh copy of it")
    return int(text)


def inside(text: str, path: Path) -> str:
    """Return a relative path of a list.

    Raises:
        RbdmlError: the path leads out of the set's folder.
    """
    parts = PurePosixPath(text)
    if parts.is_absolute() or ".." in parts.parts:
        raise RbdmlError(f"{path}: '{text[:80]}' leads out of its folder: get a fresh copy of it")
    return text


def find_folder(paths: DataPaths, folders: Iterable[str], needed: Sequence[str]) -> Path | None:
    """Return the first folder below a data folder that holds one of the needed files."""
    candidates = (root / folder for root in paths.folders for folder in folders)
    return next((path for path in candidates if any((path / file).is_file() for file in needed)), None)


def missing_dataset(name: str, paths: DataPaths, file: str) -> MissingDataError:
    """Return the error about a set that is not on this machine."""
    looked = ", ".join(str(folder) for folder in paths.folders)
    return MissingDataError(
        f"data set '{name}' is not on this machine (no {file} below {looked}): get it by `rbdml data prepare {name}`, "
        "or give the folder that holds it by --data-root or $RBDML_DATA"
    )
