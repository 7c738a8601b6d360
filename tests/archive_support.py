"""What the tests of archives share."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from robustbench_dml.datasets.archives import extract
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.progress import Bar, Progress

QUIET = Progress(quiet=True)


CONTENT = {"set/images/a b.jpg": bytes(range(256)) * 8, "set/images/ä.jpg": b"\0" * 700, "set/list.txt": b"1 a\n"}


Pack = Callable[[Mapping[str, bytes]], bytes]


def pack_tar(content: Mapping[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o6755
            tar.addfile(info, io.BytesIO(data))
        for info in extra:
            tar.addfile(info)
    return file.getvalue()


def pack_tgz(content: Mapping[str, bytes]) -> bytes:
    return gzip.compress(pack_tar(content))


def pack_zip(content: Mapping[str, bytes], *extra: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in content.items():
            zipped.writestr(name, data)
        for info, data in extra:
            zipped.writestr(info, data)
    return file.getvalue()


def with_header(data: bytes, place: int, field: bytes) -> bytes:
    """A tar file with a field of its first header changed, and its check sum with it."""
    header = bytearray(data[:512])
    header[place : place + len(field)] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


PACKS: list[Pack] = [pack_zip, pack_tar, pack_tgz]


def entry(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "elsewhere"
    return info


def zip_entry(name: str, mode: int) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info, b"elsewhere"


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(archive: Path, target: Path) -> str:
    """The message, once nothing is found written anywhere."""
    before = sorted(archive.parent.rglob("*"))
    with pytest.raises(RbdmlError) as caught:
        extract(archive, target, progress=QUIET)
    assert sorted(path for path in archive.parent.rglob("*") if path != target.parent) == before
    assert "\n" not in str(caught.value)
    assert str(archive) in str(caught.value)
    return str(caught.value)


@contextmanager
def nothing() -> Iterator[None]:
    yield


@dataclass(frozen=True)
class Watched(Progress):
    """Keeps what the bars show; the first step in the last one raises `failure`."""

    bars: list[Any] = field(default_factory=list)
    failure: BaseException | None = None

    @contextmanager
    def bar(self, total: float, title: str, unit: str) -> Iterator[Bar]:
        shown = SimpleNamespace(total=total, title=title, unit=unit, steps=[], disable=False)

        def update(step: float) -> None:
            shown.steps.append(step)
            if self.failure is not None:
                raise self.failure

        shown.update = update
        self.bars.append(shown)
        yield Bar(shown)
