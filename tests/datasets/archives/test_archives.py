from __future__ import annotations

import gzip
import re
import shutil
import stat
import tarfile
from pathlib import Path

import pytest
from archive_support import (
    CONTENT,
    PACKS,
    QUIET,
    Pack,
    entry,
    nothing,
    pack_tar,
    pack_zip,
    refusal,
    tree,
    with_header,
    zip_entry,
)

from robustbench_dml.datasets.archives import NOT_PLAIN, extract, is_archive


@pytest.mark.parametrize("pack", PACKS)
def test_an_archive_is_recognised_by_its_content(archive: Path, target: Path, pack: Pack) -> None:
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


@pytest.mark.parametrize(
    "kind", [b"", b"PK", b"some text that is long enough" * 100, gzip.compress(b"no tar" * 200, mtime=0)]
)
def test_other_files_are_refused(archive: Path, target: Path, kind: bytes) -> None:
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
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, b"Z"]
)
def test_a_tar_holds_only_files_and_folders(archive: Path, target: Path, kind: bytes) -> None:
    archive.write_bytes(pack_tar(CONTENT, entry("odd", kind)))
    assert f"'odd' {NOT_PLAIN}" in refusal(archive, target)


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFIFO, stat.S_IFCHR])
def test_a_zip_holds_only_files_and_folders(archive: Path, target: Path, mode: int) -> None:
    archive.write_bytes(pack_zip(CONTENT, zip_entry("odd", mode)))
    assert f"'odd' {NOT_PLAIN}" in refusal(archive, target)


def test_an_encrypted_member_is_refused(archive: Path, target: Path) -> None:
    data = bytearray(pack_zip({"secret": b"text"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    assert "'secret' is encrypted" in refusal(archive, target)


def test_a_member_of_an_unknown_compression_is_refused(archive: Path, target: Path) -> None:
    data = bytearray(pack_zip({"odd": b"text"}))
    data[data.index(b"PK\x01\x02") + 10] = 9
    archive.write_bytes(data)
    assert "'odd' is encrypted, or compressed by a method" in refusal(archive, target)


@pytest.mark.parametrize("name", ["set/list.txt", "set/./list.txt", "set//list.txt"])
def test_two_members_of_one_path_are_refused(archive: Path, target: Path, name: str) -> None:
    archive.write_bytes(pack_tar(CONTENT, entry(name)))
    assert f"{name!r} is there twice" in refusal(archive, target)
    with pytest.warns(UserWarning, match="Duplicate") if name in CONTENT else nothing():
        archive.write_bytes(pack_zip(CONTENT, zip_entry(name, 0)))
    assert f"{name!r} is there twice" in refusal(archive, target)


def test_a_name_with_a_zero_byte_is_refused(archive: Path, target: Path) -> None:
    archive.write_bytes(pack_tar({"ä\0b": b"text"}))
    assert "has a path of another system" in refusal(archive, target)


def test_a_hostile_name_keeps_the_message_on_one_line(archive: Path, target: Path) -> None:
    archive.write_bytes(pack_tar({"/a\n\x1b[2Jb": b""}))
    assert r"'/a\n\x1b[2Jb' has an absolute path" in refusal(archive, target)
