from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from sweep_support import StandIn, Told, stand_in

from robustbench_dml.runs.exits import ExitCode
from robustbench_dml.runs.sweeps import carry_out, logs
from robustbench_dml.runs.sweeps.carry_out import Sweeping
from robustbench_dml.runs.sweeps.local import Local
from robustbench_dml.runs.sweeps.logs import last_attempt
from robustbench_dml.utils.errors import RbdmlError


def swept(world: StandIn, *, jobs: int = 1, retries: int = 0) -> Told:
    told = Told()
    Sweeping(world.jobs, Local(jobs), told, retries=retries).carry_out()
    return told


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carry_out, "POLL", 0.05)


def test_every_run_is_done_once_in_order_and_a_second_sweep_does_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = stand_in(tmp_path, monkeypatch, [["record"]] * 3)
    assert swept(world).states == dict.fromkeys(range(3), "done")
    assert world.starts == [0, 1, 2]
    assert swept(world).states == dict.fromkeys(range(3), "done")
    assert world.starts == [0, 1, 2]


def test_a_run_that_fails_is_told_with_its_reason_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = stand_in(tmp_path, monkeypatch, [["record"], ["no room"], ["record"]])
    told = swept(world)
    assert told.states == {0: "done", 1: "failed", 2: "done"}
    assert told.why[1] == "no room"
    assert "rbdml: no room" in world.jobs[1].folder.process_log.read_text()
    assert world.starts == [0, 1, 2] and told.tried_again == []


def test_failures_are_tried_again_as_often_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = stand_in(tmp_path, monkeypatch, [["die", "no room", "record"], ["no room"]])
    told = swept(world, retries=2)
    assert told.states == {0: "done", 1: "failed"}
    assert sorted(world.starts) == [0, 0, 0, 1, 1, 1]
    assert sorted(told.tried_again) == [0, 0, 1, 1]


def test_a_run_that_is_killed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = stand_in(tmp_path, monkeypatch, [["die"]])
    assert swept(world).why == {0: "killed by signal 9"}
    attempt = last_attempt(world.jobs[0].folder.process_log)
    assert attempt is not None and attempt.code == -signal.SIGKILL


def test_a_training_that_diverged_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = stand_in(tmp_path, monkeypatch, [[f"{ExitCode.DIVERGED:d}:training diverged"]])
    assert swept(world, retries=5).states == {0: "failed"}
    assert world.starts == [0]


def test_two_sweeps_at_once_share_the_runs_and_do_none_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = stand_in(tmp_path, monkeypatch, [["slowly"]] * 6)
    tolds = [Told(), Told()]
    threads = [
        threading.Thread(target=Sweeping(world.jobs, Local(2), told).carry_out, name=f"sweep {number}")
        for number, told in enumerate(tolds)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(world.starts) == list(range(6))
    for told in tolds:
        assert told.states == dict.fromkeys(range(6), "done")
    assert tolds[0].set_aside or tolds[1].set_aside


def test_jobs_run_at_once_each_on_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both wait to be stopped: the second starts while the first is there."""
    world = stand_in(tmp_path, monkeypatch, [["wait"], ["wait"], ["record"]])
    engine = Local(2, devices=["3", "GPU-7"])
    for job in world.jobs[:2]:
        engine.start(job)
    world.wait_for_starts(2)
    engine.stop()
    assert {job.spec.digest for job in engine.ended(10)} == {job.spec.digest for job in world.jobs[:2]}
    engine.start(world.jobs[2])  # a device is free again
    assert engine.ended(60) == [world.jobs[2]]
    engine.close()
    devices = [job.folder.process_log.read_text().split("doing ")[1].split("\n")[0] for job in world.jobs]
    assert set(devices[:2]) == {"wait 3", "wait GPU-7"}
    assert devices[2] in ("record 3", "record GPU-7")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_has_the_runs_keep_their_states_and_the_same_sweep_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    world = stand_in(tmp_path, monkeypatch, [["wait", "record"], ["wait", "record"], ["record"]])
    before = signal.signal(number, signal.default_int_handler)  # it is ignored where a shell starts tests behind it

    def interrupt() -> None:
        world.wait_for_starts(2)
        os.kill(os.getpid(), number)

    told, handlers = Told(), [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        Sweeping(world.jobs, Local(2), told, retries=3).carry_out()
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    signal.signal(number, before)
    assert told.stopped == 2 and told.states == {}
    assert [world.kept(job).exists() for job in range(3)] == [True, True, False]
    for job in world.jobs[:2]:
        attempt = last_attempt(job.folder.process_log)
        assert attempt is not None and attempt.code == 130 and not attempt.failed
    assert not world.jobs[2].folder.process_log.exists()
    assert swept(world).states == dict.fromkeys(range(3), "done")
    assert sorted(world.starts) == [0, 0, 1, 1, 2]


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under `nohup`."""
    world = stand_in(tmp_path, monkeypatch, [["slowly"]])

    def hang_up() -> None:
        world.wait_for_starts(1)
        os.kill(os.getpid(), signal.SIGHUP)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        threading.Thread(target=hang_up).start()
        assert swept(world).states == {0: "done"}
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_log_that_cannot_be_written_ends_the_sweep_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = stand_in(tmp_path, monkeypatch, [["record"]])
    world.jobs[0].folder.process_log.mkdir(parents=True)
    with pytest.raises(RbdmlError, match="cannot write"):
        swept(world)


def test_a_damaged_record_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = stand_in(tmp_path, monkeypatch, [["record"]])
    world.jobs[0].folder.path.mkdir(parents=True)
    world.jobs[0].folder.record_file.write_text("{}")
    told = swept(world)
    assert told.states == {0: "failed"}
    assert "not a valid record" in told.why[0]


def test_a_damaged_record_with_a_refusal_in_its_log_does_not_go_round_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = stand_in(tmp_path, monkeypatch, [["record"]])
    [job] = world.jobs
    job.folder.path.mkdir(parents=True)
    job.folder.record_file.write_text("{}")
    with job.folder.process_log.open("ab") as log:
        logs.begin(log, job.command)
        logs.end(log, ExitCode.BUSY, 1.0)
    attempt = last_attempt(job.folder.process_log)
    assert attempt is not None and attempt.code == ExitCode.BUSY
    assert swept(world).states == {0: "failed"}
