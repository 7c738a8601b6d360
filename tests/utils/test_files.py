"""Written files are complete and survive a power cut."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from robustbench_dml.utils.files import is_full, plain_size, read_at_most, sha256, sync_folder, write_atomically


def test_content_is_synced_before_it_is_put_in_place_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int]] = []
    sync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        steps.append(("sync", os.fstat(descriptor).st_ino))
        sync(descriptor)

    def replaced(source: Path, target: Path) -> None:
        steps.append(("replace", source.stat().st_ino))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_atomically(tmp_path / "file", lambda file: file.write(b"content"))
    file = (tmp_path / "file").stat().st_ino
    assert steps == [("sync", file), ("replace", file), ("sync", tmp_path.stat().st_ino)]
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_folder_that_cannot_be_synced_is_let_be(tmp_path: Path) -> None:
    sync_folder(tmp_path / "missing")


def test_a_full_disk_is_distinguished_from_other_errors() -> None:
    assert is_full(OSError(errno.ENOSPC, "")) and is_full(OSError(errno.EDQUOT, ""))
    assert not is_full(OSError(errno.EACCES, ""))


def test_no_more_is_read_than_there_may_be(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_at_most(tmp_path / "a", 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_at_most(tmp_path / "a", 4)
    assert plain_size(tmp_path / "a") == 5


def test_a_file_that_grew_meanwhile_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    monkeypatch.setattr("robustbench_dml.utils.files.plain_size", lambda _: 1)
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_at_most(tmp_path / "a", 4)


def test_a_link_to_a_plain_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").symlink_to("a")
    assert read_at_most(tmp_path / "b", 9) == b"1"
    assert sha256(tmp_path / "b") == sha256(tmp_path / "a")


@pytest.mark.parametrize("place", ["/dev/zero", "/dev/null"])
def test_a_device_is_not_read_to_an_end_that_it_does_not_have(tmp_path: Path, place: str) -> None:
    (tmp_path / "a").symlink_to(place)
    for read in (plain_size, sha256, lambda path: read_at_most(path, 9)):
        with pytest.raises(OSError, match="not a plain file"):
            read(tmp_path / "a")


def test_folders_and_missing_files_have_their_own_errors(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        sha256(tmp_path)
    with pytest.raises(FileNotFoundError):
        sha256(tmp_path / "a")
