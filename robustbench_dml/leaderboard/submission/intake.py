"""Copies of the submitted files: plain, of bounded size, and taken before they are checked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from robustbench_dml.runs import queries as npz
from robustbench_dml.runs.record import CHECKPOINT_FILE, MAX_BYTES, QUERIES_FILE, RECORD_FILE, Record, read_record
from robustbench_dml.utils.errors import RbdmlError

RECORDS = 1000  # largest number of records in one submission
VISITED = 100_000  # largest number of files and folders below the submitted folder
CHECKPOINT_BYTES = 4_000_000_000


@dataclass(frozen=True)
class Candidate:
    """A submitted record."""

    record: Record  # read from the copy
    folder: Path  # the copy, with `record.json` and `queries.npz` alone
    source: Path  # the original folder
    checkpoint: Path | None

    def with_source(self, message: str) -> str:
        """Name the original folder instead of the copy."""
        return message.replace(str(self.folder), str(self.source))


def take_in(given: Path, private: Path, checkpoint: Path | None = None) -> list[Candidate]:
    """Copy the submitted records to a private folder, so that nobody changes them during the checks.

    Args:
        given: a record's folder or file, or a folder of several records; hidden folders are left out.
        checkpoint: the checkpoint of a single record, unless it lies beside the record.

    Raises:
        RbdmlError: no record, too many files, files that are not plain, or an invalid record.
    """
    sources = _sources(given)
    if checkpoint is not None and len(sources) > 1:
        raise RbdmlError(f"--checkpoint is of one record, and {given} has {len(sources)}: submit that one by itself")
    return [_candidate(source, private / f"{number}", checkpoint) for number, source in enumerate(sources)]


def _candidate(source: Path, copy: Path, checkpoint: Path | None) -> Candidate:
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
        _check_plain(checkpoint, CHECKPOINT_BYTES, "checkpoint", follow=checkpoint != beside)
    return Candidate(record, copy, source, checkpoint)


def _sources(given: Path) -> list[Path]:
    """List the folders of records in the order of their paths."""
    if given.name == RECORD_FILE and not given.is_dir():
        return [given.parent]
    if not given.is_dir():
        raise RbdmlError(f"{given}: no such folder or record: give what `rbdml run` or `rbdml evaluate` wrote")
    folders = sorted(_walk(given))
    if not folders:
        raise RbdmlError(f"{given}: no {RECORD_FILE} in it or below: give what `rbdml run` or `rbdml evaluate` wrote")
    if len(folders) > RECORDS:
        raise RbdmlError(
            f"{given}: {len(folders)} records, and at most {RECORDS} are taken at once: submit it in parts"
        )
    return folders


def _walk(given: Path) -> Iterator[Path]:
    visited = 0
    for folder, inner, files in os.walk(given):
        inner[:] = [name for name in inner if not name.startswith(".")]
        visited += len(inner) + len(files)
        if visited > VISITED:
            raise RbdmlError(f"{given}: more than {VISITED} files: submit the folder of the records alone")
        links = [name for name in inner if (Path(folder) / name).is_symlink()]
        if links:
            raise RbdmlError(f"{Path(folder) / links[0]}: a symbolic link: submit the folder itself")
        if RECORD_FILE in files:
            yield Path(folder)


def _copy(source: Path, target: Path, limit: int, kind: str) -> None:
    """Copy a plain file of at most `limit` bytes."""
    _check_plain(source, limit, kind)
    try:
        with source.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise RbdmlError(f"{source}: cannot be read ({error.strerror}): change its permissions") from None
    if len(data) > limit:  # the file has grown since the check
        raise RbdmlError(f"{source}: larger than {limit} bytes, which no {kind} is: remove it")
    target.write_bytes(data)


def _check_plain(path: Path, limit: int, kind: str, *, follow: bool = False) -> None:
    """Refuse a file that is missing, too large, a device, or a link unless `follow`, for paths that the user gave."""
    try:
        status = path.stat() if follow else path.lstat()
    except OSError as error:
        raise RbdmlError(f"{path}: no {kind} there ({error.strerror}): submit the whole folder of the run") from None
    if stat.S_ISLNK(status.st_mode):
        raise RbdmlError(f"{path}: a symbolic link: submit the file itself")
    if not stat.S_ISREG(status.st_mode):
        raise RbdmlError(f"{path}: no plain file: submit what `rbdml run` wrote")
    if status.st_size > limit:
        raise RbdmlError(f"{path}: larger than {limit} bytes, which no {kind} is: remove it")
