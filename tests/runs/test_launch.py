"""What a run on several devices refuses, and what it says of processes that failed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from devices_support import Job
from torch.distributed.elastic.multiprocessing import ProcessFailure, RunProcsResult

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.runs import launch
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.exits import ExitCode
from robustbench_dml.runs.launch import _judge, check_devices
from robustbench_dml.runs.task import Share
from robustbench_dml.utils.errors import DivergedError, RbdmlError


def place(device: str) -> RunContext:
    return RunContext(out=Path("runs"), paths=DataPaths(), device=torch.device(device))


@pytest.mark.parametrize(
    ("device", "devices", "reason"),
    [
        ("cpu", 0, "needs at least one"),
        ("cpu", 8, "a batch has 7 pairs"),
        ("cpu", 5, "4 cores may be used"),
        ("cuda", 3, "PyTorch sees 2 CUDA devices"),
    ],
)
def test_senseless_numbers_are_refused(device: str, devices: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(launch, "usable_cores", lambda: 4)
    with pytest.raises(RbdmlError, match=f"--devices {devices}: .*{reason}"):
        check_devices(Job("regular").spec(), place(device), devices)


@pytest.mark.parametrize(
    ("device", "devices", "cores"), [("cpu", 1, 1), ("cpu", 2, 1), ("cpu", 7, 7), ("cpu", 3, 4), ("cuda", 2, 1)]
)
def test_others_are_taken(device: str, devices: int, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(launch, "usable_cores", lambda: cores)
    check_devices(Job("regular").spec(), place(device), devices)


def shares(folder: Path) -> list[Share]:
    """The places of two processes."""
    return [Share(rank=rank, processes=2, rendezvous=folder / "rendezvous") for rank in range(2)]


def ended(folder: Path, **codes: int) -> RunProcsResult:
    """Processes that ended so: p0=2 and so on; the second one has left a log."""
    log = folder / "stderr.log"
    log.write_text("Traceback\nValueError: in the log\n\n")
    failures = {
        int(name[1:]): ProcessFailure(int(name[1:]), pid=1, exitcode=code, error_file=str(folder / "none"))
        for name, code in codes.items()
    }
    return RunProcsResult(failures=failures, stdouts={0: "", 1: ""}, stderrs={0: "", 1: str(log)})


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ({"p0": ExitCode.LEFT_ALONE, "p1": -signal.SIGKILL}, "process 1 of the run was ended by SIGKILL"),
        ({"p0": -signal.SIGTERM, "p1": 1}, r"process 1 of the run ended with code 1 \(ValueError: in the log\)"),
        ({"p0": 1, "p1": ExitCode.LEFT_ALONE}, "process 0 of the run ended with code 1: "),
        ({"p1": ExitCode.LEFT_ALONE}, "process 1 of the run ended with code 5"),
    ],
)
def test_the_process_that_failed_first_is_named(codes: dict[str, int], said: str, tmp_path: Path) -> None:
    with pytest.raises(RbdmlError, match=said):
        _judge(ended(tmp_path, **codes), shares(tmp_path))


def test_a_message_for_the_user_goes_before_all(tmp_path: Path) -> None:
    shares(tmp_path)[1].message.write_text("the data is damaged: get it again")
    with pytest.raises(RbdmlError, match=r"^the data is damaged: get it again$"):
        _judge(ended(tmp_path, p0=-signal.SIGTERM, p1=2), shares(tmp_path))
    with pytest.raises(DivergedError):
        _judge(ended(tmp_path, p0=-signal.SIGTERM, p1=ExitCode.DIVERGED), shares(tmp_path))


def test_an_interrupt_of_any_process_is_one_of_the_run(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _judge(ended(tmp_path, p0=ExitCode.LEFT_ALONE, p1=ExitCode.INTERRUPTED), shares(tmp_path))


def test_what_ended_well_is_no_failure(tmp_path: Path) -> None:
    _judge(ended(tmp_path), shares(tmp_path))
