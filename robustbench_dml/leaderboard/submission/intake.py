"""What is submitted, taken in: plain files of a bounded size, copied before they are looked at."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from robustbench_dml.runs import queries as npz
from robustbench_dml.runs.record import CHECKPOINT_FILE, MAX_BYTES, QUERIES_FILE, RECORD_FILE, Record, read_record
from robustbench_dml.utils.errors import RbdmlError

RECORDS = 1000  # at once
LOOKED_AT = 100_000  # files and folders below the one that is submitted
CHECKPOINT_BYTES = 4_000_000_000


@dataclass(frozen=True)
class Candidate:
    """A record that is submitted.

    Attributes:
        record: as it was read from the copy.
        folder: the copy: `record.json` and `queries.npz`, and nothing else.
        source: where it came from.
        checkpoint: None where there is none.
    """

    record: Record
    folder: Path
    source: Path
    checkpoint: Path | None

    def told(self, message: str) -> str:
        """A message in which the copy goes by the name of what was submitted."""
        return message.replace(str(self.folder), str(self.source))


def take_in(given: Path, private: Path, checkpoint: Path | None = None) -> list[Candidate]:
    """Copy the records that are submitted to a private folder, where nobody changes them while they are checked.

    Args:
        given: a record's folder or file, or a folder of several; hidden folders are left out.
        private: where copies go.
        checkpoint: of the one record, where it is not beside it.

    Raises:
        RbdmlError: nothing there, too much of it, something else than plain files, or no valid record.
    """
    sources = _sources(given)
    if checkpoint is not None and len(sources) > 1:
        raise RbdmlError(f"--checkpoint is of one record, and {given} has {len(sources)}: submit that one by itself")
    return [_taken(source, private / f"{place}", checkpoint) for place, source in enumerate(sources)]


def _taken(source: Path, copy: Path, checkpoint: Path | None) -> Candidate:
    copy.mkdir()
    _copy(source / RECORD_FILE, copy / RECORD_FILE, MAX_BYTES, "record")
    _copy(source / QUERIES_FILE, copy / QUERIES_FILE, npz.MAX_BYTES, "file of per-query values")
    try:
        record = read_record(copy)
    except RbdmlError as error:
        raise RbdmlError(str(error).replace(str(copy), str(source))) from None
    beside = source / CHECKPOINT_FILE
    if checkpoint is None and os.path.lexists(beside):
        checkpoint = beside
    if checkpoint is not None:
        _check_plain(checkpoint, CHECKPOINT_BYTES, "checkpoint", own=checkpoint != beside)
    return Candidate(record, copy, source, checkpoint)


def _sources(given: Path) -> list[Path]:
    """The folders of records, in the order of their paths."""
    if given.name == RECORD_FILE and not given.is_dir():
        return [given.parent]
    if not given.is_dir():
        raise RbdmlError(f"{given}: no such folder or record: give what `rbdml run` or `rbdml evaluate` wrote")
    found = sorted(_walk(given))
    if not found:
        raise RbdmlError(f"{given}: no {RECORD_FILE} in it or below: give what `rbdml run` or `rbdml evaluate` wrote")
    if len(found) > RECORDS:
        raise RbdmlError(f"{given}: {len(found)} records, and at most {RECORDS} are taken at once: submit it in parts")
    return found


def _walk(given: Path) -> Iterator[Path]:
    seen = 0
    for folder, inner, files in os.walk(given):
        inner[:] = [name for name in inner if not name.startswith(".")]
        seen += len(inner) + len(files)
        if seen > LOOKED_AT:
            raise RbdmlError(f"{given}: more than {LOOKED_AT} files: submit the folder of the records alone")
        links = [name for name in inner if (Path(folder) / name).is_symlink()]
        if links:
            raise RbdmlError(f"{Path(folder) / links[0]}: a symbolic link: submit the folder itself")
        if RECORD_FILE in files:
            yield Path(folder)


def _copy(source: Path, target: Path, limit: int, what: str) -> None:
    """Copy a plain file that is not larger than it may be."""
    _check_plain(source, limit, what)
    try:
        with source.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise RbdmlError(f"{source}: cannot be read ({error.strerror}): change its permissions") from None
    if len(data) > limit:  # it has grown since
        raise RbdmlError(f"{source}: larger than {limit} bytes, which no {what} is: remove it")
    target.write_bytes(data)


def _check_plain(path: Path, limit: int, what: str, *, own: bool = False) -> None:
    """Refuse what is missing, too large, a device, or a link, unless it is the user's `own`, by its path."""
    try:
        found = path.stat() if own else path.lstat()
    except OSError as error:
        raise RbdmlError(f"{path}: no {what} there ({error.strerror}): submit the whole folder of the run") from None
    if stat.S_ISLNK(found.st_mode):
        raise RbdmlError(f"{path}: a symbolic link: submit the file itself")
    if not stat.S_ISREG(found.st_mode):
        raise RbdmlError(f"{path}: no plain file: submit what `rbdml run` wrote")
    if found.st_size > limit:
        raise RbdmlError(f"{path}: larger than {limit} bytes, which no {what} is: remove it")
