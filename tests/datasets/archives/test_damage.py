from __future__ import annotations

import gzip
import re
import shutil
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from archive_support import (
    CONTENT,
    PACKS,
    QUIET,
    Pack,
    Watched,
    pack_tar,
    pack_tgz,
    pack_zip,
    refusal,
    tree,
    with_header,
    zip_entry,
)

from robustbench_dml.datasets import archives
from robustbench_dml.datasets.archives import extract, is_archive
from robustbench_dml.utils.errors import RbdmlError


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("part", [0.3, 0.7, 0.95])
def test_a_truncated_archive_leavesnothing(archive: Path, target: Path, pack: Pack, part: float) -> None:
    noise = {f"{number}": bytes((number * index * index) % 251 for index in range(3_000)) for number in range(8)}
    data = pack(noise).rstrip(b"\0")  # the end of a tar is filled up
    archive.write_bytes(data[: int(part * len(data))])
    assert re.search(r"damaged or incomplete \(.+\): remove it.*--from", refusal(archive, target))


def test_a_truncated_archive_is_still_an_archive(archive: Path, target: Path) -> None:
    archive.write_bytes(pack_tgz(CONTENT)[:30])
    assert is_archive(archive)
    assert "damaged or incomplete" in refusal(archive, target)


@pytest.mark.parametrize("end", [1024, 2048])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_tar_cut_after_a_member_is_noticed(
    archive: Path, target: Path, end: int, compress: Callable[[bytes], bytes]
) -> None:
    archive.write_bytes(compress(pack_tar({"a": b"1" * 512, "b": b"2" * 512})[:end]))
    assert "no end mark" in refusal(archive, target)


@pytest.mark.parametrize("size", [b"\xff" * 10 + b"\xfc\0", b"\x80\0\0" + b"\xff" * 9], ids=["negative", "vast"])
def test_a_size_that_makes_no_sense_is_damage(archive: Path, target: Path, size: bytes) -> None:
    archive.write_bytes(pack_tar({"a": bytes(512)})[:1024] + with_header(pack_tar({"b": b"text"}), 124, size))
    assert re.search(r"damaged or incomplete \((a size of -1024|no end mark|.*int\b)", refusal(archive, target))


@pytest.mark.parametrize("size", [b"\x80\0\0" + b"\xff" * 9, b"\x80" + b"\0" * 4 + b"\1" + b"\0" * 6])
def test_a_tar_header_of_a_vast_size_is_damage(archive: Path, target: Path, size: bytes) -> None:
    header = with_header(with_header(pack_tar({"a": b"text"}), 156, tarfile.XHDTYPE), 124, size)
    archive.write_bytes(pack_tar({"a": bytes(512)})[:1024] + header)
    assert "damaged or incomplete" in refusal(archive, target)


@pytest.mark.parametrize(("field", "value"), [(8, 0x20), (46, 0xFF)], ids=["flag", "name"])
def test_a_zip_header_that_makes_no_sense_is_damage(archive: Path, target: Path, field: int, value: int) -> None:
    data = bytearray(pack_zip({"ä": b"text"}))
    for header, offset in ((b"PK\x01\x02", 0), (b"PK\x03\x04", -2 if field == 8 else -16)):
        data[data.index(header) + field + offset] |= value
    archive.write_bytes(data)
    assert "damaged or incomplete" in refusal(archive, target)


def test_a_damaged_header_does_not_end_a_tar(archive: Path, target: Path) -> None:
    data = bytearray(pack_tar({"a": b"1" * 512, "b": b"2" * 512}))
    data[1024 + 10] ^= 0xFF
    archive.write_bytes(data)
    assert "damaged or incomplete" in refusal(archive, target)


@pytest.mark.parametrize("pack", [pack_zip, pack_tgz])
def test_changed_bytes_are_noticed_by_the_check_sum(archive: Path, target: Path, pack: Pack) -> None:
    data = bytearray(pack({"a": b"1" * 5_000}))
    place = data.index(b"PK\x01\x02") + 16 if pack is pack_zip else len(data) - 8
    data[place] ^= 0xFF
    archive.write_bytes(data)
    assert re.search("damaged or incomplete .*CRC", refusal(archive, target))


@pytest.mark.parametrize("pack", [pack_zip, pack_tgz])
def test_bytes_that_cannot_be_expanded_are_damage(archive: Path, target: Path, pack: Pack) -> None:
    noise = b"".join(number.to_bytes(2, "big") for number in range(20_000))
    data = bytearray(pack({"a": noise}))
    data[len(data) // 2 : len(data) // 2 + 64] = b"\xff" * 64
    archive.write_bytes(data)
    assert "damaged or incomplete" in refusal(archive, target)


def test_a_zip_that_lies_about_a_size_is_noticed(archive: Path, target: Path) -> None:
    data = bytearray(pack_zip({"a": b"1" * 5_000}))
    place = data.index(b"PK\x01\x02") + 24
    data[place : place + 4] = (6_000).to_bytes(4, "little")
    archive.write_bytes(data)
    assert "'a' has 5,000 of 6,000 bytes" in refusal(archive, target)


@pytest.mark.parametrize("pack", PACKS)
def test_room_is_checked_first(archive: Path, target: Path, monkeypatch: pytest.MonkeyPatch, pack: Pack) -> None:
    archive.write_bytes(pack(CONTENT))
    size = sum(map(len, CONTENT.values()))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=size - 1))
    assert f"unpacks to {size:,} bytes and {size - 1:,} are free in {archive.parent}" in refusal(archive, target)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=size))
    extract(archive, target, progress=QUIET)
    assert tree(target) == CONTENT


def test_modes_are_plain(archive: Path, target: Path) -> None:
    archive.write_bytes(pack_tar(CONTENT))  # of setuid programs
    extract(archive, target, progress=QUIET)
    assert all(path.stat().st_mode & 0o7111 == 0 for path in target.rglob("*") if path.is_file())
    archive.write_bytes(pack_zip({}, zip_entry("program", stat.S_IFREG | 0o6755)))
    extract(archive, target / "set" / "more", progress=QUIET)
    assert (target / "set" / "more" / "program").stat().st_mode & 0o7111 == 0


@pytest.mark.parametrize("pack", PACKS)
def test_the_bar_counts_bytes(archive: Path, target: Path, pack: Pack) -> None:
    archive.write_bytes(pack(CONTENT))
    progress = Watched()
    extract(archive, target, progress=progress)
    (bar,) = progress.bars
    assert bar.total == sum(bar.steps) == sum(map(len, CONTENT.values()))
    assert (bar.title, bar.unit) == ("archive", "B")


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_an_unpacking_that_stops_leavesnothing(archive: Path, target: Path, failure: BaseException) -> None:
    archive.write_bytes(pack_tgz(CONTENT))
    with pytest.raises(RbdmlError if isinstance(failure, OSError) else KeyboardInterrupt) as caught:
        extract(archive, target, progress=Watched(failure=failure))
    assert list(target.parent.iterdir()) == []
    if isinstance(failure, OSError):
        assert re.search(r"cannot unpack .*No space left on device.*make room", str(caught.value))


FIRST = pack_tar({"first": bytes(512)})[:1024]


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_of_a_tar_does_not_fill_the_memory(archive: Path, target: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("a")
    info.type, info.size = kind, 3 << 20
    archive.write_bytes(gzip.compress(FIRST + info.tobuf() + bytes(info.size) + pack_tar({"a": b"text"})))
    assert len(archive.read_bytes()) < 10_000
    assert "(headers larger than any member's)" in refusal(archive, target)


def test_many_headers_of_one_member_do_not_fill_the_memory(archive: Path, target: Path) -> None:
    sparse = with_header(with_header(pack_tar({"a": b""}), 156, tarfile.GNUTYPE_SPARSE), 482, b"\1")[:512]
    more = b"1".rjust(12, b"0") * 42 + b"\1" + bytes(7)
    archive.write_bytes(gzip.compress(FIRST + sparse + more * 5000))
    assert "(headers larger than any member's)" in refusal(archive, target)


def test_more_members_than_any_set_has_are_damage(archive: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MEMBERS", 3)
    archive.write_bytes(pack_tgz({f"{number}": b"1" for number in range(4)}))
    assert "(more than 3 members)" in refusal(archive, target)


def test_a_zip_member_without_a_name_is_damage(archive: Path, target: Path) -> None:
    data = bytearray(pack_zip({"a": b"text"}))
    for header, length in ((b"PK\x03\x04", 26), (b"PK\x01\x02", 28)):  # the name becomes the extra field
        place = data.index(header) + length
        data[place : place + 4] = b"\0\0\1\0"
    archive.write_bytes(data)
    assert "damaged or incomplete" in refusal(archive, target)
