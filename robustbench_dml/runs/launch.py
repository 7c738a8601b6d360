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

from robustbench_dml.runs import run as runs
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.evaluate import Outcome, find_outcome
from robustbench_dml.runs.worker import (
    INTERRUPTED,
    LEFT_ALONE,
    PROCESSES,
    RANK,
    RENDEZVOUS,
    is_worker,
    message_file,
    work,
)
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.locks import usable_cores

POLL = 0.1  # seconds
FEW = 2  # processes that any machine bears; more than its cores only take its memory
GRACE = 24 * 3600  # seconds that processes have for an iteration and for writing, once they are asked to end
LOOPBACK = Path("/sys/class/net/lo")
SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")  # those that torch's launcher handles


def run_on_devices(spec: RunSpec, place: RunContext, devices: int, *, force: bool = False) -> Outcome:
    """Do a run on several devices of this machine, each in a process that is given this process's own command.

    Args:
        spec: what to run.
        place: where; on a CPU the processes share its cores.
        devices: how many.
        force: as in `runs.run`.

    Returns:
        The run's outcome. The processes that were started do not return.

    Raises:
        RbdmlError: more devices than there are, or than pairs in a batch; or a process has failed.
        KeyboardInterrupt: the run was interrupted.
    """
    if is_worker():
        work(spec, place, force=force)
    check_devices(spec, place, devices)
    if devices == 1 or (not force and find_outcome(spec, place) is not None):
        return runs.run(spec, place, force=force)
    with TemporaryDirectory(prefix="rbdml-") as folder:
        _launch(devices, Path(folder))
    found = find_outcome(spec, place)
    if found is None:
        raise RbdmlError(f"{place.folder(spec)}: no record, though all processes ended well: run again")
    return replace(found, fresh=True)


def check_devices(spec: RunSpec, place: RunContext, devices: int) -> None:
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
    if place.device.type == "cpu" and devices > max(usable_cores(), FEW):
        raise RbdmlError(
            f"--devices {devices}: on the CPU each is a process, and {usable_cores()} cores may be used: give no more"
        )


def _launch(devices: int, folder: Path) -> None:
    """Start the processes and wait for all of them."""
    ranks, rendezvous = range(devices), folder / "rendezvous"
    with _quiet():
        processes = start_processes(
            "rbdml",
            sys.executable,
            args=dict.fromkeys(ranks, ("-P", "-m", "robustbench_dml", *sys.argv[1:])),
            envs={rank: {**_environment(devices, rendezvous), RANK: str(rank)} for rank in ranks},
            logs_specs=DefaultLogsSpecs(str(folder), redirects={rank: Std.ALL if rank else Std.NONE for rank in ranks}),
        )
        result = _wait(processes)
    _judge(result, rendezvous)


def _environment(devices: int, rendezvous: Path) -> dict[str, str]:
    """What a process is told beside its command, and what it would otherwise have to guess."""
    guessed = {"OMP_NUM_THREADS": str(max(1, usable_cores() // devices))}
    if LOOPBACK.exists():  # all are on this machine, whatever its name resolves to
        guessed["GLOO_SOCKET_IFNAME"] = LOOPBACK.name
    return {**guessed, **os.environ, PROCESSES: str(devices), RENDEZVOUS: str(rendezvous)}


def _wait(processes: PContext) -> RunProcsResult:
    """Until all have ended; where one fails, the launcher ends the others."""
    try:
        result = processes.wait(period=POLL)
    except SignalException:
        _end(processes)
        raise KeyboardInterrupt from None
    assert result is not None
    return result


def _end(processes: PContext) -> None:
    """Ask each process to end, once, since one that is asked twice ends at once; if this one is, kill them."""
    try:
        processes.close(signal.SIGTERM, timeout=GRACE)
    except SignalException:
        processes.close(signal.SIGKILL)


def _judge(result: RunProcsResult, rendezvous: Path) -> None:
    """Say why a run has failed: in the words of the first process that has any, or by how the first one ended."""
    failures = sorted(result.failures.values(), key=lambda one: one.local_rank)
    messages = [message_file(rendezvous, one.local_rank) for one in failures]
    for message in messages:
        if message.is_file():
            raise RbdmlError(message.read_text())
    if any(one.exitcode == INTERRUPTED for one in failures):
        raise KeyboardInterrupt
    # Those that were left alone, or were ended by the launcher because of another one, are no cause.
    causes = [one for one in failures if one.exitcode not in (LEFT_ALONE, -signal.SIGTERM)] or failures
    if not causes:
        return
    number, code = causes[0].local_rank, causes[0].exitcode
    if code < 0:
        raise RbdmlError(
            f"process {number} of the run was ended by {signal.Signals(-code).name}, maybe for want of memory: the "
            "same command goes on from the last state that was kept"
        )
    raise RbdmlError(
        f"process {number} of the run ended with code {code}{_last_line(result.stderrs[number])}: report it"
    )


def _last_line(log: str | None) -> str:
    """Of what a process has said, where that is not on the terminal already."""
    lines = Path(log).read_text(errors="replace").split("\n") if log else []
    return next((f" ({line.strip()})" for line in reversed(lines) if line.strip()), "")


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
