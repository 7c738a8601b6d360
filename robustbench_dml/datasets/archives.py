"""Safe unpacking of archives: only plain files and folders, only below the target, the whole archive or nothing."""

from __future__ import annotations

import gzip
import math
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

from robustbench_dml.utils.errors import RbdmlError, reason
from robustbench_dml.utils.files import free_bytes
from robustbench_dml.utils.progress import Bar, Progress

CHUNK = 1 << 20
ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second begins an empty archive
OTHERS = {b"BZh": "bzip2", b"\xfd7z": "xz", b"\x28\xb5\x2f": "zstd", b"7z\xbc": "7-Zip", b"Rar": "RAR"}
BLOCK = 512  # bytes in a block of a tar file
DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    ValueError,  # this error and those below: invalid numbers, names and flags in headers
    OverflowError,
    IndexError,
    struct.error,
    MemoryError,
    RuntimeError,
)
HEADERS = 2 << 20  # bytes of the headers of a tar member; sparse files and long names have several headers
NOT_PLAIN = "is a link, a device or the like, and neither a file nor a folder"
MEMBERS = 500_000  # members of an archive, four times as many as in the largest set


class _Stream:
    """A tar file with a limit on the bytes read for the headers of a member."""

    def __init__(self, file: gzip.GzipFile | BufferedReader) -> None:
        self._file = file
        self._allowed: float = HEADERS

    def allow(self, count: float) -> None:
        """Allow this many bytes from now on."""
        self._allowed = count

    def read(self, size: int = -1) -> bytes:
        """Read like a file, or raise tarfile.ReadError above the limit."""
        if not 0 <= size <= self._allowed:
            raise tarfile.ReadError("headers larger than any member's")
        self._allowed -= size
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    folder: bool
    fault: str | None  # a reason not to unpack the member, apart from its name
    open: Callable[[], IO[bytes]]

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(part for part in self.name.split("/") if part not in ("", "."))


def extract(archive: Path, target: Path, *, progress: Progress) -> None:
    """Unpack a .zip, .tar or .tar.gz, recognised by its content, into a new folder.

    Raises:
        RbdmlError: a damaged archive, a member that is not a plain file or folder below the target, or no room. No
            partial files remain.
    """
    try:
        with _members(archive) as members:
            _check_members(archive, members)
            size, free = sum(member.size for member in members), free_bytes(target.parent)
            if size > free:
                raise RbdmlError(
                    f"{archive} unpacks to {size:,} bytes and {free:,} are free in {target.parent}: make room or "
                    "choose another folder"
                )
            target.mkdir(parents=True)
            try:
                with progress.bar(size, archive.name, "B") as bar:
                    for member in members:
                        _unpack(member, target, bar)
            except BaseException:
                shutil.rmtree(target, ignore_errors=True)
                raise
    except DAMAGE as error:
        raise RbdmlError(
            f"{archive} is damaged or incomplete ({reason(error)}): remove it and download it again, or get it by "
            "hand and give it by --from"
        ) from None
    except OSError as error:
        raise RbdmlError(
            f"cannot unpack {archive} to {target} ({reason(error)}): make room or choose another folder, then give "
            "the same command again"
        ) from None


def is_archive(path: Path) -> bool:
    """Return true if the content is a .zip, .tar or .tar.gz, sound or damaged.

    Raises:
        RbdmlError: the file cannot be read, or is compressed in another way.
    """
    magic = _magic(path)
    if magic[:3] in OTHERS:
        raise RbdmlError(
            f"{path}: compressed by {OTHERS[magic[:3]]}, which is not read: unpack it, or pack it as .tar.gz"
        )
    if magic in ZIP:
        return True
    try:
        with _tar(path, magic):
            return True
    except tarfile.ReadError:
        return False
    except DAMAGE:
        return True


@contextmanager
def _members(archive: Path) -> Iterator[Sequence[_Member]]:
    """Open an archive and list its members. Read them in this order."""
    if not is_archive(archive):
        raise RbdmlError(f"{archive} is neither a .zip nor a .tar or .tar.gz: get the right file and give it by --from")
    magic = _magic(archive)
    if magic in ZIP:
        with zipfile.ZipFile(archive) as zipped:
            yield [_zip_member(zipped, info) for info in zipped.infolist()]
        return
    with _tar(archive, magic) as (tar, stream):
        yield [_tar_member(tar, info) for info in _tar_infos(tar, stream)]


def _magic(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError as error:
        raise RbdmlError(f"{path}: cannot be read ({error.strerror}): give another file by --from") from None


@contextmanager
def _tar(path: Path, magic: bytes) -> Iterator[tuple[tarfile.TarFile, _Stream]]:
    with gzip.open(path) if magic[:2] == b"\x1f\x8b" else path.open("rb") as file:
        stream = _Stream(file)
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as tar:
            yield tar, stream


def _zip_member(zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)  # Unix mode; 0 from other systems
    fault = None if kind in (0, stat.S_IFREG, stat.S_IFDIR) else NOT_PLAIN
    if info.flag_bits & 0x1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        fault = "is encrypted, or compressed by a method that is not known here"
    size = 0 if info.is_dir() else info.file_size
    return _Member(info.filename, size, info.is_dir(), fault, lambda: zipped.open(info))


def _tar_member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    fault = None if info.isreg() or info.isdir() else NOT_PLAIN
    size = info.size if info.isreg() else 0
    return _Member(info.name, size, info.isdir(), fault, lambda: cast(IO[bytes], tar.extractfile(info)))


def _tar_infos(tar: tarfile.TarFile, stream: _Stream) -> Iterator[tarfile.TarInfo]:
    """Yield the members. A damaged header raises ReadError; tarfile alone would mistake the damage for the end."""
    for number, info in enumerate(tar):
        if info.size < 0:
            raise tarfile.ReadError(f"a size of {info.size}")
        if number >= MEMBERS:
            raise tarfile.ReadError(f"more than {MEMBERS:,} members")
        yield info
        stream.allow(HEADERS)
    stream.allow(math.inf)
    stream.seek(tar.offset)
    if stream.read(BLOCK) != bytes(BLOCK):
        raise tarfile.ReadError("no end mark after its last member")
    while stream.read(CHUNK):  # until the end, where gzip stores its checksum
        pass


def _check_members(archive: Path, members: Sequence[_Member]) -> None:
    files = {member.parts for member in members if not member.folder}
    if not files:
        raise RbdmlError(f"{archive} holds no file: get the right archive and give it by --from")
    seen: set[tuple[str, ...]] = set()
    for member in members:
        fault = member.fault or _path_fault(member)
        if fault is None and member.parts in seen and not member.folder:
            fault = "is there twice"
        if fault is None and any(member.parts[:depth] in files for depth in range(1, len(member.parts))):
            fault = "lies below a file"
        if fault is not None:
            raise RbdmlError(
                f"{archive}: its member {member.name!r} {fault}: nothing was unpacked; get the archive from its "
                "publisher and give it by --from"
            )
        seen.add(member.parts)


def _path_fault(member: _Member) -> str | None:
    if member.name.startswith("/"):
        return "has an absolute path"
    if ".." in member.parts:
        return "leads out of its folder"
    if "\\" in member.name or "\0" in member.name or any(re.match("[A-Za-z]:", part) for part in member.parts):
        return "has a path of another system"
    if not member.parts and not member.folder:
        return "has no name"
    return None


def _unpack(member: _Member, folder: Path, bar: Bar) -> None:
    path = folder.joinpath(*member.parts)
    if member.folder:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with member.open() as source, path.open("xb") as file:  # "x": two names may be one on some file systems
        while chunk := source.read(CHUNK):
            written += file.write(chunk)
            bar.advance_by(len(chunk))
    if written != member.size:
        raise EOFError(f"{member.name!r} has {written:,} of {member.size:,} bytes")
