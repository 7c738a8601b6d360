"""What is written is whole, and is there after a power cut."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from robustbench_dml.files import is_full, sync_folder, write_atomically


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


def test_no_room_is_told_from_other_errors() -> None:
    assert is_full(OSError(errno.ENOSPC, "")) and is_full(OSError(errno.EDQUOT, ""))
    assert not is_full(OSError(errno.EACCES, ""))
