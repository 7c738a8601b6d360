"""Atomic writes, bounded reads, hashes and free space."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

CHECKPOINT = "checkpoint.safetensors"  # the file of the weights in the folder of a run


def write_atomically(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a temporary file beside `path`, then move it into place. The file survives a power cut.

    Args:
        path: path of the file.
        content: its bytes, or a function that writes them to an open file.

    Raises:
        OSError: writing failed; the old file is unchanged and the temporary file is removed.
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
    """Flush a folder, so that new, renamed and removed names survive a power cut. Some systems cannot."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_full(error: OSError) -> bool:
    """Return true if the disk or the user's quota is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def is_write_failure(error: OSError, folder: Path) -> bool:
    """Return true for a failure of the disk, or of a file below this folder."""
    below = isinstance(error.filename, str) and Path(error.filename).absolute().is_relative_to(folder.absolute())
    return below or is_full(error) or error.errno in (errno.EROFS, errno.EIO)


def free_bytes(folder: Path) -> int:
    """Return the free space for a folder, which need not exist yet."""
    existing = next(path for path in (folder, *folder.parents) if path.is_dir() or path == path.parent)
    return shutil.disk_usage(existing).free


def plain_size(path: Path) -> int:
    """Return the bytes of a plain file, or of the file that a link leads to.

    Raises:
        OSError: no such file, or not a plain one. A device may be endless, and a pipe may have no writer.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return found.st_size


def read_at_most(path: Path, limit: int) -> bytes:
    """Return the content of a plain file of at most `limit` bytes.

    Raises:
        OSError: the errors of `plain_size`, the file is larger, or it cannot be read.
    """
    if plain_size(path) <= limit:
        with path.open("rb") as file:
            content = file.read(limit + 1)  # the file may have grown since
        if len(content) <= limit:
            return content
    raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a plain file, in hexadecimal.

    Raises:
        OSError: the errors of `plain_size`, or the file cannot be read.
    """
    plain_size(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
