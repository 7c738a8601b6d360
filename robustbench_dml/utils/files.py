"""Writing files so that a reader sees the old content or the new, never a part; reading no more than there may be."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a temporary file beside `path`, then put it in place, where it outlasts a power cut.

    Args:
        path: of the file.
        content: its bytes, or a function that writes them to an open file.

    Raises:
        OSError: the old file is unchanged and no temporary file is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            _ = file.write(content) if isinstance(content, bytes) else content(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def holds(path: Path, content: bytes) -> bool:
    """Return true if a file with exactly these bytes is there."""
    return path.is_file() and path.read_bytes() == content


def write_if_changed(path: Path, content: bytes) -> None:
    """Write a file atomically, and its folder, unless it holds these bytes already."""
    if not holds(path, content):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)


def sync_folder(folder: Path) -> None:
    """Have what was made, renamed or removed in a folder outlast a power cut, as far as the system lets one."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_full(error: OSError) -> bool:
    """Whether there was no room: on the disk, or for this user."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def is_write_failure(error: OSError, folder: Path) -> bool:
    """Whether a failure is one of the disk, or of a file below this folder."""
    below = isinstance(error.filename, str) and Path(error.filename).absolute().is_relative_to(folder.absolute())
    return below or is_full(error) or error.errno in (errno.EROFS, errno.EIO)


def plain_size(path: Path) -> int:
    """Bytes of a plain file, or of what a link leads to.

    Raises:
        OSError: it is not there, or it is something else: a device may have no end, and a pipe may have no writer.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return found.st_size


def read_at_most(path: Path, limit: int) -> bytes | None:
    """The content of a plain file, None where it has more bytes than that.

    Raises:
        OSError: as `plain_size`, or it cannot be read.
    """
    if plain_size(path) > limit:
        return None
    with path.open("rb") as file:
        content = file.read(limit + 1)  # it may have grown since
    return content if len(content) <= limit else None


def sha256(path: Path) -> str:
    """SHA-256 of a plain file, in hexadecimal.

    Raises:
        OSError: as `plain_size`, or it cannot be read.
    """
    plain_size(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
