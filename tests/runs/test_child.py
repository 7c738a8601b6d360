"""The ends of a process that does a run, or a share of one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from cli_support import files_below
from devices_support import Job

from robustbench_dml.runs import child, launch
from robustbench_dml.runs import run as runs
from robustbench_dml.runs.exits import ExitCode
from robustbench_dml.runs.folder import FIRST, RunFolder
from robustbench_dml.runs.record import find_records
from robustbench_dml.runs.task import Share, Task
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.options import OPTIONS
from robustbench_dml.training.resume import RESUME_FILE
from robustbench_dml.utils import distributed
from robustbench_dml.utils.errors import BusyError, DivergedError, RbdmlError


@dataclass(frozen=True)
class Found:
    """The part of an outcome that is looked at."""

    fresh: bool
    folder: Path = Path("there")


@pytest.fixture
def alone(tmp_path: Path) -> Task:
    """A whole run."""
    return Task(spec=Job("regular").spec(), options={"out": str(tmp_path), "device": "cpu"})


@pytest.fixture
def leading(alone: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    """The share of a process that leads, without others."""
    monkeypatch.setattr(distributed, "process_group", lambda *_, **__: nullcontext())
    share = Share(rank=0, processes=2, rendezvous=tmp_path / "rendezvous")
    return alone.model_copy(update={"share": share})


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(runs, "run", fail)


def test_a_run_of_a_sweep_starts_its_processes(alone: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(task: Task, devices: int, _: Path) -> NoReturn:
        assert (task.spec, devices) == (alone.spec, 2)
        raise RbdmlError("started")

    monkeypatch.setattr(launch, "_launch", started)
    assert child.do(alone.on_devices(2)) == ExitCode.REFUSED


FAILURES = [
    (RbdmlError("no\nroom"), ExitCode.REFUSED, "rbdml: no room\n"),
    (DivergedError("training diverged"), ExitCode.DIVERGED, "rbdml: training diverged\n"),
    (BusyError("busy"), ExitCode.BUSY, "rbdml: busy\n"),
    (PermissionError(13, "not allowed", "file"), ExitCode.REFUSED, "rbdml: file: no permission: change its"),
    (KeyboardInterrupt(), ExitCode.INTERRUPTED, "rbdml: interrupted; the same command goes on from here\n"),
]


@pytest.mark.parametrize(("error", "code", "message"), FAILURES, ids=str)
def test_the_exit_code_and_one_line_give_the_reason(
    error: BaseException,
    code: int,
    message: str,
    alone: Task,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fail_with(error, monkeypatch)
    assert child.do(alone) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(message) and err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DivergedError("training diverged"), ExitCode.DIVERGED),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (RuntimeError("Connection closed by peer"), ExitCode.LEFT_ALONE),
    ],
)
def test_the_message_of_a_share_goes_to_the_launcher(
    error: BaseException,
    code: int,
    leading: Task,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fail_with(error, monkeypatch)
    assert child.do(leading) == code
    assert leading.share is not None
    message = leading.share.message
    assert (message.read_text() if message.exists() else None) == (str(error) if code == ExitCode.DIVERGED else None)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["alone", "leading"])
def test_other_errors_keep_their_traceback(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(RuntimeError("shapes do not fit"), monkeypatch)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        child.do(request.getfixturevalue(kind))


@pytest.mark.parametrize("fresh", [True, False])
def test_a_leader_with_nothing_to_do_releases_the_others(
    fresh: bool, leading: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[object] = []
    monkeypatch.setattr(runs, "run", lambda *_, **__: Found(fresh))
    monkeypatch.setattr(distributed, "broadcast", lambda value=None: sent.append(value))
    assert child.do(leading) == 0
    assert sent == [None] * (1 if fresh else 2)  # the last when the record is written


@pytest.mark.parametrize("folder", [Path("work"), None])
def test_a_process_that_does_not_lead_works_in_silence_in_the_leaders_folder(
    folder: Path | None, leading: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, bool]] = []
    monkeypatch.setattr(distributed, "is_leader", lambda: False)
    monkeypatch.setattr(distributed, "broadcast", lambda: folder)
    monkeypatch.setattr(runs, "assist", lambda _, context, work, **__: asked.append((work, context.progress.quiet)))
    assert leading.share is not None
    second = leading.model_copy(update={"share": leading.share.model_copy(update={"rank": 1})})
    assert child.do(second) == 0
    assert asked == ([] if folder is None else [(folder, True)])


def test_the_program_does_a_run_and_its_interruption_is_an_exit_code(tmp_path: Path) -> None:
    training = {"pairs": 16, "eta": 1}
    evaluation = {"queries": 8, "steps": 1}
    spec = make_spec(defense="regular", dataset="glyphs-mini", budget="200", training=training, evaluation=evaluation)
    task = Task(spec=spec, options={"out": str(tmp_path), "device": "cpu", "checkpoint_every": "0s"})
    folder = RunFolder(tmp_path, spec)
    process = subprocess.Popen(task.words, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not (folder.work(FIRST) / RESUME_FILE).exists():
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait() == ExitCode.INTERRUPTED
    assert process.stderr is not None and process.stderr.read().endswith("the same command goes on from here\n")
    answer = subprocess.run(task.words, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout) == (ExitCode.DONE, f"record: {folder.path}\n")
    [record] = find_records(tmp_path)
    assert record.spec == spec
    assert [path.name for path in files_below(tmp_path) if path.name == RESUME_FILE] == []


def test_a_task_is_the_same_in_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = {option.word: option.default for option in OPTIONS}
    words |= {"defense": "mine.py:mine", "extra_attack": ("swap.py:swap",), "weights": Path("w.pth"), "out": "runs"}
    words |= {"data_root": "data", "no_cache": True, "batch_size": 7, "checkpoint_every": "0.5s", "device": "cpu"}
    task = Task.of(Job("act").spec(), words, force=True)
    again = Task.model_validate_json(task.words[-1])
    assert again == task and again.spec.digest == task.spec.digest
    assert again.files == (tmp_path / "mine.py", tmp_path / "swap.py")
    monkeypatch.chdir("/")
    there = again.context()
    assert (there.out, there.weights, there.surrogate) == (tmp_path / "runs", tmp_path / "w.pth", None)
    assert (there.device.type, there.batch_size, there.checkpoint_every) == ("cpu", 7, 0.5)
    assert (there.paths.data_root, there.paths.cache) == (tmp_path / "data", False)
