from __future__ import annotations

from pathlib import Path

from board_support import made_spec

from robustbench_dml.runs.folder import RunFolder
from robustbench_dml.utils.runlog import RunLog, read_log


def test_a_log_is_kept_for_the_folder_that_replaces_its_own(tmp_path: Path) -> None:
    folder, new = RunFolder(tmp_path, made_spec()), tmp_path / "new"
    folder.path.mkdir(parents=True)
    new.mkdir()
    folder.copy_log(new)  # there is none
    RunLog(folder.path).write("old")
    (folder.path / "events.out.tfevents.1").write_bytes(b"scalars")
    folder.copy_log(new)
    assert events(new) == ["old"] and (new / "events.out.tfevents.1").read_bytes() == b"scalars"
    RunLog(new).write("new")
    folder.copy_log(new)  # a second process that goes on
    assert events(new) == ["old", "new"]


def events(folder: Path) -> list[str]:
    return [event["event"] for event in read_log(folder)]
