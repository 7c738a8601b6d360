"""Starting a process for each device, all with the same command, and ending with what became of them."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.distributed.elastic.multiprocessing import (
    DefaultLogsSpecs,
    PContext,
    RunProcsResult,
    SignalException,
    Std,
    start_processes,
)

from robustbench_dml import runs
from robustbench_dml.devices.worker import LEFT_ALONE, PROCESSES, RANK, RENDEZVOUS, is_worker, work
from robustbench_dml.errors import RbdmlError
from robustbench_dml.protocol import RunSpec
from robustbench_dml.recording import Outcome, Place, find_outcome
from robustbench_dml.workers import usable_cores

POLL = 0.1  # seconds
GRACE = 24 * 3600  # seconds that processes have for an iteration and for writing, once they are asked to end
TOLD = (2, 130)  # exit codes of a leading process that has said why
SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")  # those that torch's launcher handles


def run_on_devices(spec: RunSpec, place: Place, devices: int, *, force: bool = False) -> Outcome | None:
    """Do a run on several devices of this machine, each in a process that is given this process's own command.

    Args:
        spec: what to run.
        place: where; on a CPU the processes share its cores.
        devices: how many.
        force: as in `runs.run`.

    Returns:
        The run's outcome; None in one of the processes that were started.

    Raises:
        RbdmlError: more devices than there are, or than pairs in a batch; or a process has failed.
        SystemExit: the leading process has ended early and said why.
        KeyboardInterrupt: the run was interrupted.
    """
    if is_worker():
        work(spec, place, force=force)
        return None
    check_devices(spec, place, devices)
    if devices == 1 or (not force and find_outcome(spec, place) is not None):
        return runs.run(spec, place, force=force)
    with TemporaryDirectory(prefix="rbdml-") as folder:
        _launch(devices, Path(folder))
    found = find_outcome(spec, place)
    if found is None:
        raise RbdmlError(f"{place.folder(spec)}: no record, though all processes ended well: run again")
    return replace(found, fresh=True)


def check_devices(spec: RunSpec, place: Place, devices: int) -> None:
    """Refuse a number of devices that makes no sense.

    Raises:
        RbdmlError: as said.
    """
    if devices < 1:
        raise RbdmlError(f"--devices {devices}: a run needs at least one")
    if place.device.type == "cuda" and devices > torch.cuda.device_count():
        raise RbdmlError(f"--devices {devices}: PyTorch sees {torch.cuda.device_count()} CUDA devices: give no more")
    if devices > spec.training.pairs:
        raise RbdmlError(
            f"--devices {devices}: a batch has {spec.training.pairs} pairs, and each device needs one: give fewer"
        )


def _launch(devices: int, folder: Path) -> None:
    """Start the processes and wait for all of them."""
    cores = max(1, usable_cores() // devices)
    shared = {"OMP_NUM_THREADS": str(cores), **os.environ, PROCESSES: str(devices)}
    shared[RENDEZVOUS] = str(folder / "rendezvous")
    ranks = range(devices)
    with _quiet():
        processes = start_processes(
            "rbdml",
            sys.executable,
            args=dict.fromkeys(ranks, ("-P", "-m", __package__, *sys.argv[1:])),
            envs={rank: {**shared, RANK: str(rank)} for rank in ranks},
            logs_specs=DefaultLogsSpecs(str(folder), redirects={rank: Std.ALL if rank else Std.NONE for rank in ranks}),
        )
        result = _wait(processes)
    _judge(result)


def _wait(processes: PContext) -> RunProcsResult:
    try:
        while True:
            result = processes.wait(period=POLL)
            if result is not None:
                return result
    except SignalException:
        _end(processes)
        raise KeyboardInterrupt from None


def _end(processes: PContext) -> None:
    """Ask each process to end, once, since one that is asked twice ends at once; if this one is, kill them."""
    try:
        processes.close(signal.SIGTERM, timeout=GRACE)
    except SignalException:
        processes.close(signal.SIGKILL)


def _judge(result: RunProcsResult) -> None:
    """Say why the first one failed, where the leading process has not said it."""
    failures = result.failures
    if not failures:
        return
    leader = failures.get(0)
    if leader is not None and leader.exitcode in TOLD:
        sys.exit(leader.exitcode)
    causes = [one for one in failures.values() if one.exitcode not in (LEFT_ALONE, -signal.SIGTERM)]
    cause = min(causes or failures.values(), key=lambda one: one.local_rank)
    if cause.exitcode == 130:
        raise KeyboardInterrupt
    log = Path(result.stderrs[cause.local_rank]) if result.stderrs[cause.local_rank] else None
    lines = log.read_text(errors="replace").split("\n") if log is not None and log.is_file() else []
    words = next((line.removeprefix("rbdml: ") for line in reversed(lines) if line.strip()), "see above")
    raise RbdmlError(f"process {cause.local_rank} of the run ended with code {cause.exitcode}: {words}")


@contextmanager
def _quiet() -> Iterator[None]:
    """The launcher's log says what is said here in one line; its signal handlers are gone afterwards."""
    logger = logging.getLogger("torch.distributed.elastic.multiprocessing")
    level, before = logger.level, {name: signal.getsignal(getattr(signal, name)) for name in SIGNALS}
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
