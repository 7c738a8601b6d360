"""The log of a run survives its process, and no run depends on it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.runlog import LOG_FILE, LoggedProgress, RunLog, read_log


def told(folder: Path) -> list[tuple[str, object]]:
    return [(event["event"], event.get("value")) for event in read_log(folder)]


def test_every_line_is_an_event_with_its_time(tmp_path: Path) -> None:
    RunLog(tmp_path).write("a", value=1, inner={"x": math.nan, "y": 2.5})
    RunLog(tmp_path).write("b", value=math.inf)
    lines = [json.loads(line) for line in (tmp_path / LOG_FILE).read_text().splitlines()]
    assert [sorted(line) for line in lines] == [["event", "inner", "time", "value"], ["event", "time", "value"]]
    assert lines[0]["inner"] == {"x": None, "y": 2.5} and lines[1]["value"] is None  # JSON has no other way
    assert lines[0]["time"] <= lines[1]["time"] and lines[0]["time"].endswith("+00:00")
    assert read_log(tmp_path) == lines


@pytest.mark.parametrize("cut", range(2, 41, 6))
def test_a_torn_line_costs_that_line_alone(tmp_path: Path, cut: int) -> None:
    """Wherever it was cut: the next process begins a line of its own."""
    log = RunLog(tmp_path)
    log.write("a", value=1)
    log.write("torn", value=2)
    log.path.write_bytes(log.path.read_bytes()[:-cut])
    assert told(tmp_path) == [("a", 1)]
    log.write("b", value=3)
    log.write("c", value=4)
    assert told(tmp_path) == [("a", 1), ("b", 3), ("c", 4)]


def test_lines_that_are_no_events_are_left_out(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).write_bytes(b'\n\xff\xfe\n[1]\n3\nnull\n{"time": 1}\n{"event": "a"}\n')
    assert read_log(tmp_path) == [{"event": "a"}]
    assert read_log(tmp_path / "nowhere") == []


def test_failed_writes_are_ignored(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).mkdir()
    RunLog(tmp_path).write("a")
    with pytest.raises(RbdmlError), RunLog(tmp_path).ending():
        raise RbdmlError("no")
    RunLog(tmp_path / "nowhere").write("a")
    assert read_log(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).symlink_to("/dev/full")
    RunLog(tmp_path).write("a")


FAILED = {"event": "failed", "error": "ValueError", "message": "two lines"}
REFUSED = {"event": "failed", "error": "RbdmlError", "message": "no"}


def ended_by(error: BaseException, log: RunLog) -> list[dict[str, object]]:
    """The events after some work has ended so, without their times."""
    with pytest.raises(type(error)), log.ending():
        raise error
    return [{name: event[name] for name in event if name != "time"} for event in read_log(log.path.parent)]


@pytest.mark.parametrize(
    ("error", "told"),
    [(KeyboardInterrupt(), {"event": "interrupted"}), (ValueError("two\n lines"), FAILED), (RbdmlError("no"), REFUSED)],
)
def test_an_early_end_is_logged(tmp_path: Path, error: BaseException, told: dict[str, object]) -> None:
    log = RunLog(tmp_path)
    log.write("start")
    log.write("training")
    with log.ending():
        pass
    assert ended_by(error, log) == [{"event": "start"}, {"event": "training"}, told]


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (KeyboardInterrupt(), []),
        (RbdmlError("no"), []),
        (OSError("no room"), []),
        (ValueError("two\n lines"), [{"event": "start"}, FAILED]),
    ],
)
def test_refused_work_leaves_no_log(tmp_path: Path, error: BaseException, left: list[dict[str, object]]) -> None:
    log = RunLog(tmp_path)
    log.write("start")
    assert ended_by(error, log) == left
    assert log.path.exists() == bool(left)


def test_messages_are_warnings_in_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LoggedProgress(quiet=False, log=RunLog(tmp_path)).say("look out")
    LoggedProgress(quiet=True, log=RunLog(tmp_path)).say("and again")
    assert [event["message"] for event in read_log(tmp_path)] == ["look out", "and again"]
    assert capsys.readouterr().err == "rbdml: look out\n"
