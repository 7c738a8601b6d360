from __future__ import annotations

import gzip
import io
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from robustbench_dml.datasets.archives import extract, is_archive
from robustbench_dml.errors import RbdmlError
from robustbench_dml.progress import Bar, Progress

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


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "set"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


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


@pytest.mark.parametrize("pack", PACKS)
def test_an_archive_is_told_by_its_content(archive: Path, target: Path, pack: Pack) -> None:
    archive.write_bytes(pack(CONTENT))
    assert is_archive(archive)
    extract(archive, target, progress=QUIET)
    assert tree(target) == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["set"]


def test_an_old_tar_without_a_magic_number_is_one(archive: Path, target: Path) -> None:
    archive.write_bytes(with_header(pack_tar({"a": b"text"}), 257, bytes(8)))
    extract(archive, target, progress=QUIET)
    assert tree(target) == {"a": b"text"}


def test_a_tar_that_holds_a_zip_is_a_tar(archive: Path, target: Path) -> None:
    archive.write_bytes(pack_tar({"inner.zip": pack_zip(CONTENT)}))
    extract(archive, target, progress=QUIET)
    assert list(tree(target)) == ["inner.zip"]


def test_folders_are_unpacked_too(archive: Path, target: Path) -> None:
    archive.write_bytes(pack_tar({"a": b""}, entry("./", tarfile.DIRTYPE), entry("./b/c/", tarfile.DIRTYPE)))
    extract(archive, target, progress=QUIET)
    assert (target / "b" / "c").is_dir()
    shutil.rmtree(target)
    archive.write_bytes(pack_zip({"a": b"", "b/c/": b""}))
    extract(archive, target, progress=QUIET)
    assert (target / "b" / "c").is_dir()


@pytest.mark.parametrize("kind", [b"", b"PK", b"some text that is long enough" * 100, gzip.compress(b"no tar" * 200)])
def test_what_is_no_archive_is_refused(archive: Path, target: Path, kind: bytes) -> None:
    archive.write_bytes(kind)
    assert not is_archive(archive)
    assert re.search(r"neither a \.zip nor a \.tar or \.tar\.gz.*--from", refusal(archive, target))


def test_an_archive_that_is_not_there_is_named(archive: Path, target: Path) -> None:
    assert re.search(r"cannot be read \(No such file.*--from", refusal(archive, target))


@pytest.mark.parametrize("data", [pack_tar({}), pack_zip({}), pack_zip({"folder/": b""})])
def test_an_archive_without_files_is_refused(archive: Path, target: Path, data: bytes) -> None:
    archive.write_bytes(data)
    assert "holds no file" in refusal(archive, target)


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("/tmp/evil", "has an absolute path"),
        ("../evil", "leads out of its folder"),
        ("set/../../evil", "leads out of its folder"),
        ("set/..", "leads out of its folder"),
        ("C:evil", "has a path of another system"),
        ("./c:/evil", "has a path of another system"),
        ("..\\evil", "has a path of another system"),
        ("set/list.txt/evil", "lies below a file"),
        (".", "has no name"),
    ],
)
def test_a_path_that_leads_elsewhere_is_refused_before_anything_is_written(
    archive: Path, target: Path, pack: Pack, name: str, fault: str
) -> None:
    archive.write_bytes(pack({**CONTENT, name: b"evil"}))
    assert f"its member {name!r} {fault}: nothing was unpacked" in refusal(archive, target)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (tarfile.SYMTYPE, "is a symbolic link"),
        (tarfile.LNKTYPE, "is a hard link"),
        (tarfile.FIFOTYPE, "is neither a file nor a folder"),
        (tarfile.CHRTYPE, "is neither a file nor a folder"),
        (tarfile.BLKTYPE, "is neither a file nor a folder"),
        (b"Z", "is neither a file nor a folder"),
    ],
)
def test_a_tar_holds_only_files_and_folders(archive: Path, target: Path, kind: bytes, fault: str) -> None:
    archive.write_bytes(pack_tar(CONTENT, entry("odd", kind)))
    assert f"'odd' {fault}" in refusal(archive, target)


@pytest.mark.parametrize(
    ("mode", "fault"),
    [
        (stat.S_IFLNK | 0o777, "is a symbolic link"),
        (stat.S_IFIFO, "is neither a file nor a folder"),
        (stat.S_IFCHR, "is neither a file nor a folder"),
    ],
)
def test_a_zip_holds_only_files_and_folders(archive: Path, target: Path, mode: int, fault: str) -> None:
    archive.write_bytes(pack_zip(CONTENT, zip_entry("odd", mode)))
    assert f"'odd' {fault}" in refusal(archive, target)


def test_an_encrypted_member_is_refused(archive: Path, target: Path) -> None:
    data = bytearray(pack_zip({"secret": b"text"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    assert "'secret' is encrypted" in refusal(archive, target)


def test_a_member_of_an_unknown_compression_is_refused(archive: Path, target: Path) -> None:
    data = bytearray(pack_zip({"odd": b"text"}))
    data[data.index(b"PK\x01\x02") + 10] = 9
    archive.write_bytes(data)
    assert "'odd' is compressed by a method" in refusal(archive, target)


@pytest.mark.parametrize("name", ["set/list.txt", "set/./list.txt", "set//list.txt"])
def test_two_members_of_one_path_are_refused(archive: Path, target: Path, name: str) -> None:
    archive.write_bytes(pack_tar(CONTENT, entry(name)))
    assert f"{name!r} is there twice" in refusal(archive, target)
    with pytest.warns(UserWarning, match="Duplicate") if name in CONTENT else _nothing():
        archive.write_bytes(pack_zip(CONTENT, zip_entry(name, 0)))
    assert f"{name!r} is there twice" in refusal(archive, target)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def test_a_name_with_a_zero_byte_is_refused(archive: Path, target: Path) -> None:
    archive.write_bytes(pack_tar({"ä\0b": b"text"}))
    assert "has a path of another system" in refusal(archive, target)


def test_a_hostile_name_keeps_the_message_on_one_line(archive: Path, target: Path) -> None:
    archive.write_bytes(pack_tar({"/a\n\x1b[2Jb": b""}))
    assert r"'/a\n\x1b[2Jb' has an absolute path" in refusal(archive, target)


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("part", [0.3, 0.7, 0.95])
def test_a_truncated_archive_leaves_nothing(archive: Path, target: Path, pack: Pack, part: float) -> None:
    noise = {f"{number}": bytes((number * index * index) % 251 for index in range(3_000)) for number in range(8)}
    data = pack(noise).rstrip(b"\0")  # the end of a tar is filled up
    archive.write_bytes(data[: int(part * len(data))])
    assert re.search(r"damaged or incomplete \(.+\): remove it.*--from", refusal(archive, target))


def test_an_archive_that_hardly_begins_is_one_all_the_same(archive: Path, target: Path) -> None:
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
def test_room_is_looked_for_first(archive: Path, target: Path, monkeypatch: pytest.MonkeyPatch, pack: Pack) -> None:
    archive.write_bytes(pack(CONTENT))
    size = sum(map(len, CONTENT.values()))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=size - 1))
    assert f"unpacks to {size:,} bytes and {size - 1:,} are free in {archive.parent}" in refusal(archive, target)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=size))
    extract(archive, target, progress=QUIET)
    assert tree(target) == CONTENT


def test_a_target_that_holds_something_is_left_alone(archive: Path, target: Path) -> None:
    archive.write_bytes(pack_zip(CONTENT))
    target.mkdir(parents=True)
    (target / "mine").write_text("text")
    with pytest.raises(RbdmlError, match="is there already and is not an empty folder"):
        extract(archive, target, progress=QUIET)
    assert tree(target) == {"mine": b"text"}
    with pytest.raises(RbdmlError, match="is there already and is not an empty folder"):
        extract(archive, target / "mine", progress=QUIET)


def test_an_empty_target_is_filled(archive: Path, target: Path) -> None:
    archive.write_bytes(pack_zip(CONTENT))
    target.mkdir(parents=True)
    extract(archive, target, progress=QUIET)
    assert tree(target) == CONTENT


def test_a_link_to_an_empty_folder_stays_a_link(archive: Path, target: Path) -> None:
    archive.write_bytes(pack_zip(CONTENT))
    elsewhere = archive.parent / "elsewhere"
    elsewhere.mkdir()
    target.parent.mkdir()
    target.symlink_to(elsewhere)
    extract(archive, target, progress=QUIET)
    assert target.is_symlink()
    assert tree(elsewhere) == CONTENT


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_a_leftover_is_replaced(archive: Path, target: Path, kind: str) -> None:
    archive.write_bytes(pack_zip(CONTENT))
    part = target.with_name(".set.part")
    outside = archive.parent / "outside"
    outside.mkdir()
    (part if kind == "folder" else part.parent).mkdir(parents=True)
    if kind == "folder":
        (part / "old").touch()
    elif kind == "file":
        part.touch()
    else:
        part.symlink_to(outside)
    extract(archive, target, progress=QUIET)
    assert tree(target) == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["set"]
    assert list(outside.iterdir()) == []


def test_modes_are_plain(archive: Path, target: Path) -> None:
    archive.write_bytes(pack_tar(CONTENT))  # of setuid programs
    extract(archive, target, progress=QUIET)
    assert all(path.stat().st_mode & 0o7111 == 0 for path in target.rglob("*") if path.is_file())
    archive.write_bytes(pack_zip({}, zip_entry("program", stat.S_IFREG | 0o6755)))
    extract(archive, target / "set" / "more", progress=QUIET)
    assert (target / "set" / "more" / "program").stat().st_mode & 0o7111 == 0


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
        yield Bar(shown, total)


@pytest.mark.parametrize("pack", PACKS)
def test_the_bar_counts_bytes(archive: Path, target: Path, pack: Pack) -> None:
    archive.write_bytes(pack(CONTENT))
    progress = Watched()
    extract(archive, target, progress=progress)
    (bar,) = progress.bars
    assert bar.total == sum(bar.steps) == sum(map(len, CONTENT.values()))
    assert (bar.title, bar.unit) == ("archive", "B")


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_an_unpacking_that_stops_leaves_nothing(archive: Path, target: Path, failure: BaseException) -> None:
    archive.write_bytes(pack_tgz(CONTENT))
    with pytest.raises(RbdmlError if isinstance(failure, OSError) else KeyboardInterrupt) as caught:
        extract(archive, target, progress=Watched(failure=failure))
    assert list(target.parent.iterdir()) == []
    if isinstance(failure, OSError):
        assert re.search(r"cannot unpack .*No space left on device.*make room", str(caught.value))
