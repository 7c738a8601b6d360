"""How a process of a run on several devices ends."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from devices_support import Job

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.runs import run as runs
from robustbench_dml.runs import worker
from robustbench_dml.runs.context import RunContext
from robustbench_dml.utils import distributed
from robustbench_dml.utils.errors import DivergedError
from robustbench_dml.utils.progress import Progress


@dataclass(frozen=True)
class Found:
    """What `runs.run` returns, as far as it is looked at."""

    fresh: bool


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    """A process that leads, without others."""
    for name, value in {
        worker.RANK: "0",
        worker.PROCESSES: "2",
        worker.RENDEZVOUS: str(tmp_path / "rendezvous"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "process_group", lambda *_, **__: nullcontext())
    assert worker.is_worker()
    return RunContext(out=tmp_path, paths=DataPaths(), device=torch.device("cpu"), progress=Progress())


def work(here: RunContext) -> object:
    """The exit code."""
    with pytest.raises(SystemExit) as stop:
        worker.work(Job("regular").spec(), here, force=False)
    return stop.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DivergedError("training diverged"), 2),
        (KeyboardInterrupt(), worker.INTERRUPTED),
        (RuntimeError("Connection closed by peer"), worker.LEFT_ALONE),
    ],
)
def test_the_exit_code_says_why_and_the_user_gets_the_message_from_the_launcher(
    error: BaseException,
    code: int,
    here: RunContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(runs, "run", fail)
    assert work(here) == code
    message = worker.message_file(tmp_path / "rendezvous", 0)
    assert (message.read_text() if message.exists() else None) == ("training diverged" if code == 2 else None)
    assert capsys.readouterr() == ("", "")


def test_other_errors_keep_their_traceback(here: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(runs, "run", fail)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        worker.work(Job("regular").spec(), here, force=False)


@pytest.mark.parametrize("fresh", [True, False])
def test_the_others_are_told_where_there_is_nothing_to_do(
    fresh: bool, here: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    monkeypatch.setattr(runs, "run", lambda *_, **__: Found(fresh))
    monkeypatch.setattr(distributed, "broadcast", lambda value=None: told.append(value))
    assert work(here) == 0
    assert told == ([] if fresh else [None])


@pytest.mark.parametrize("folder", [Path("work"), None])
def test_who_does_not_lead_works_in_silence_where_the_leader_says(
    folder: Path | None, here: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, bool]] = []
    monkeypatch.setenv(worker.RANK, "1")
    monkeypatch.setattr(distributed, "is_leader", lambda: False)
    monkeypatch.setattr(distributed, "broadcast", lambda: folder)
    monkeypatch.setattr(runs, "assist", lambda _, place, work: asked.append((work, place.progress.quiet)))
    assert work(here) == 0
    assert asked == ([] if folder is None else [(folder, True)])
