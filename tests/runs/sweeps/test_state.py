from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from board_support import made_record, made_values, write_run
from filelock import FileLock

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.evaluation.attack_cache import CACHE_FILE, AttackCache
from robustbench_dml.runs.exits import ExitCode
from robustbench_dml.runs.sweeps import logs
from robustbench_dml.runs.sweeps.logs import Attempt, last_attempt
from robustbench_dml.runs.sweeps.plan import Job, plan_tree
from robustbench_dml.runs.sweeps.state import State, status_of
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.training.resume import RESUME_FILE, resume_files
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.interrupts import Interrupts
from robustbench_dml.utils.progress import Progress

TREE = {"defense": "regular", "dataset": "glyphs-mini", "pairs": 16, "queries": 8}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    [job] = plan_tree({**TREE, "budget": 400, "out": str(tmp_path / "out")}, source="test").jobs
    job.folder.path.parent.mkdir(parents=True)
    return job


def logged(job: Job, *attempts: tuple[str, int | None]) -> None:
    """Write a log of processes that wrote this and ended so."""
    with job.folder.process_log.open("ab") as log:
        for text, code in attempts:
            logs.begin(log, job.command)
            log.write(f"{text}\n".encode())
            if code is not None:
                logs.end(log, code, 61.25)


def trained(job: Job, *, iterations: int | None) -> None:
    """Train until the budget is spent, or so many iterations, and keep the state where a run keeps it."""
    job.folder.work().mkdir(exist_ok=True)
    trainer = Trainer(job.spec, DATASETS.get("glyphs-mini").load(DataPaths()), device=torch.device("cpu"))

    class After(Interrupts):
        def check(self) -> None:
            if trainer.spent.iterations == iterations:
                raise KeyboardInterrupt

    def train() -> None:
        trainer.run(progress=Progress(quiet=True), checkpoint=job.folder.work() / RESUME_FILE, interrupts=After())

    if iterations is None:
        train()
        return
    with pytest.raises(KeyboardInterrupt):
        train()


def test_nothing_there_is_waiting(job: Job) -> None:
    found = status_of(job)
    assert (found.state, found.record, found.kept, found.why) == (State.WAITING, None, None, "")


def test_a_record_is_done_whatever_else_is_there(job: Job) -> None:
    values = made_values(job.spec)
    record = write_run(job.folder.path, made_record(job.spec, values), values)
    logged(job, ("rbdml: failed", 2))
    with FileLock(job.folder.lock):
        found = status_of(job)
    assert (found.state, found.record) == (State.DONE, record)


def test_a_lock_that_is_held_is_running_and_looking_leaves_it_free(job: Job) -> None:
    job.folder.lock.parent.mkdir(parents=True)
    assert not job.folder.is_locked() and not job.folder.lock.exists()
    with FileLock(job.folder.lock):
        assert job.folder.is_locked()
        assert status_of(job).state is State.RUNNING
    assert not job.folder.is_locked()
    FileLock(job.folder.lock).acquire(timeout=0)


def test_an_interrupted_training_tells_how_far_it_is(job: Job) -> None:
    trained(job, iterations=4)
    found = status_of(job)
    assert found.state is State.INTERRUPTED and found.kept is not None
    assert found.kept.spent.iterations == 4
    assert found.kept.trained == pytest.approx(found.kept.spent.passes / 400)
    assert 0 < found.kept.trained < 1 and found.kept.evaluated == 0
    assert str(found.kept) == f"{100 * found.kept.spent.passes / 400:.0f}% trained"


def test_a_torn_state_leaves_the_one_before_it(job: Job) -> None:
    trained(job, iterations=2)
    newest, before = resume_files(job.folder.work() / RESUME_FILE)
    newest.rename(before)
    newest.write_bytes(b"torn")
    found = status_of(job)
    assert found.kept is not None and found.kept.spent.iterations == 2
    before.unlink()
    assert status_of(job).state is State.WAITING


def test_an_interrupted_evaluation_tells_how_far_it_is(job: Job) -> None:
    trained(job, iterations=None)
    kept = status_of(job).kept
    assert kept is not None and (kept.trained, kept.evaluated, str(kept)) == (1, 0, "trained, 0% evaluated")
    # One attack on all eight queries, one on five of them.
    with AttackCache(job.folder.work() / CACHE_FILE, of="it") as parts:
        parts.add("es", torch.arange(8), {"ES:D": torch.zeros(8), "ES:R": torch.zeros(8)})
        parts.add("ca+", torch.arange(5), {"CA+": torch.zeros(5)})
        parts.write()
    kept = status_of(job).kept
    assert kept is not None and kept.evaluated == pytest.approx((8 + 5) / (8 * 9))
    assert str(kept) == "trained, 18% evaluated"


@pytest.mark.parametrize(
    ("attempts", "state", "why"),
    [
        ([("rbdml: no room", 2)], State.FAILED, "no room"),
        ([("Traceback\n  line\nValueError: odd", 1)], State.FAILED, "ValueError: odd"),
        ([("half", -9)], State.FAILED, "killed by signal 9"),
        ([("", 3)], State.FAILED, "ended with exit code 3"),
        ([("rbdml: no room", 2), ("rbdml: interrupted", 130)], State.WAITING, ""),
        ([("", -15)], State.WAITING, ""),
        ([("half", None)], State.WAITING, ""),  # whoever watched it is gone
        ([("fine", 0), ("rbdml: no room", 2)], State.FAILED, "no room"),
        ([("rbdml: any words", ExitCode.BUSY)], State.WAITING, ""),
    ],
)
def test_the_last_process_in_the_log_says_whether_a_run_failed(
    job: Job, attempts: list[tuple[str, int | None]], state: State, why: str
) -> None:
    logged(job, *attempts)
    found = status_of(job)
    assert (found.state, found.why) == (state, why)


def test_a_log_tells_of_its_last_process(job: Job) -> None:
    assert last_attempt(job.folder.process_log) is None
    logged(job, ("rbdml: first", 2), ("said\nrbdml: second\n", 1))
    assert last_attempt(job.folder.process_log) == Attempt(1, 61.2, "rbdml: second")
    with job.folder.process_log.open("ab") as log:
        logs.begin(log, job.command)
    assert last_attempt(job.folder.process_log) == Attempt(None, 0.0, "")
    job.folder.process_log.write_bytes(b"\xff\n" * logs.TAIL + b"### x: exit code -9 after 2.0 s\n")
    assert last_attempt(job.folder.process_log) == Attempt(-9, 2.0, "\ufffd")


def test_a_lock_that_cannot_be_taken_is_not_known_to_be_held(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that may only be read, say."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    job.folder.lock.parent.mkdir(parents=True)
    job.folder.lock.touch()
    monkeypatch.setattr(FileLock, "acquire", refuse)
    assert status_of(job).state is State.WAITING
