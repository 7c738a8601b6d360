"""A run on several devices of this machine: one process for each device, and one message however the processes end."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
from robustbench_dml.runs.exits import ExitCode
from robustbench_dml.runs.pipeline import Outcome
from robustbench_dml.runs.task import Share, Task, of_member
from robustbench_dml.runs.together import take_part
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.utils import distributed
from robustbench_dml.utils.errors import BusyError, DivergedError, RbdmlError
from robustbench_dml.utils.locks import usable_cores

POLL = 0.1  # seconds
FEW = 2  # processes that any machine bears; processes beyond the number of cores only take memory
GRACE = 24 * 3600  # seconds for the last iteration and for writing, once the processes are asked to end
LOOPBACK = Path("/sys/class/net/lo")
KINDS: dict[int, type[RbdmlError]] = {ExitCode.DIVERGED: DivergedError, ExitCode.BUSY: BusyError}
SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")  # signals that torch's launcher handles


def run_on_devices(
    spec: RunSpec,
    context: RunContext,
    devices: int | None,
    *,
    words: Mapping[str, Any],
    checkpoint: Path | None = None,
    force: bool = False,
) -> Outcome | None:
    """Do a run, or evaluate a checkpoint, on several devices; on one device, as `run` and `reevaluate` do.

    The processes are started here, unless torchrun or srun started them: then this one does its share.

    Args:
        spec: the run.
        context: the surroundings of the run. On a CPU the processes share its cores.
        devices: the number of devices; None is one, or the processes of torchrun or srun.
        words: the words of `rbdml run` that make the spec and the context.
        checkpoint: weights to evaluate under the spec, instead of training.
        force: repeat a run that has a record, as in `run`.

    Returns:
        The record, or None in a process of torchrun or srun that does not lead.

    Raises:
        RbdmlError: more devices than there are, or than pairs in a batch; or a process failed.
        KeyboardInterrupt: the run was interrupted.
    """
    task = Task.of(spec, words, checkpoint=checkpoint, quiet=context.progress.quiet, force=force)
    member = distributed.launched()
    if member is not None and member.processes > 1:
        if devices not in (None, member.processes):
            raise RbdmlError(f"--devices {devices}: {member.processes} processes were started already: leave it out")
        return take_part(task, of_member(context, member), member)
    return run_task(task.on_devices(1 if devices is None else devices), context)


def run_task(task: Task, context: RunContext) -> Outcome:
    """Do a task on its devices; raises what `run_on_devices` raises."""
    spec, checkpoint, devices, force = task.spec, task.checkpoint, task.devices, task.force
    check_devices(spec, context, devices, trains=checkpoint is None)
    folder = context.folder(spec)
    if devices == 1 or (not force and folder.record_file.is_file()):
        if checkpoint is not None:
            return runs.evaluate_as(spec, checkpoint, context, force=force)
        return runs.run(spec, context, force=force)
    with TemporaryDirectory(prefix="rbdml-") as temporary:
        _launch(task, devices, Path(temporary))
    record = folder.read()
    if record is None:
        raise RbdmlError(f"{folder.path}: no record, though all processes ended well: run again")
    return Outcome(record, folder.path, fresh=True)


def check_devices(spec: RunSpec, context: RunContext, devices: int, *, trains: bool = True) -> None:
    """Refuse a number of devices that makes no sense.

    Raises:
        RbdmlError: fewer than one device, or more than there are devices, pairs or cores.
    """
    if devices < 1:
        raise RbdmlError(f"--devices {devices}: a run needs at least one")
    if context.device.type == "cuda" and devices > torch.cuda.device_count():
        raise RbdmlError(f"--devices {devices}: PyTorch sees {torch.cuda.device_count()} CUDA devices: give no more")
    if trains and devices > spec.training.pairs:
        raise RbdmlError(
            f"--devices {devices}: a batch has {spec.training.pairs} pairs, and each device needs one: give fewer"
        )
    if context.device.type == "cpu" and devices > max(usable_cores(), FEW):
        raise RbdmlError(
            f"--devices {devices}: on the CPU each is a process, and {usable_cores()} cores may be used: give no more"
        )


def _launch(task: Task, devices: int, temporary: Path) -> None:
    """Start the processes and wait for all of them."""
    shares = [Share(rank=rank, processes=devices, rendezvous=temporary / "rendezvous") for rank in range(devices)]
    words = [task.model_copy(update={"share": share}).words for share in shares]
    with _quiet():
        processes = start_processes(
            "rbdml",
            words[0][0],
            args={rank: one[1:] for rank, one in enumerate(words)},
            envs={rank: _environment(devices) for rank in range(devices)},
            logs_specs=DefaultLogsSpecs(
                str(temporary), redirects={rank: Std.ALL if rank else Std.NONE for rank in range(devices)}
            ),
        )
        result = _wait(processes)
    _judge(result, shares)


def _environment(devices: int) -> dict[str, str]:
    """Variables that PyTorch would otherwise have to guess; the user's settings win."""
    guessed = {"OMP_NUM_THREADS": str(max(1, usable_cores() // devices))}
    if LOOPBACK.exists():  # all processes are on this machine, whatever its name resolves to
        guessed["GLOO_SOCKET_IFNAME"] = LOOPBACK.name
    return {**guessed, **os.environ}


def _wait(processes: PContext) -> RunProcsResult:
    """Wait until all processes have ended. If a process fails, the launcher ends the others."""
    try:
        result = processes.wait(period=POLL)
    except SignalException:
        _end(processes)
        raise KeyboardInterrupt from None
    assert result is not None
    return result


def _end(processes: PContext) -> None:
    """Ask each process once to end; a second request would end it at once. On another signal, kill the processes."""
    try:
        processes.close(signal.SIGTERM, timeout=GRACE)
    except SignalException:
        processes.close(signal.SIGKILL)


def _judge(result: RunProcsResult, shares: list[Share]) -> None:
    """Raise the reason for a failure: the first message of a process, or the end of the process that failed first."""
    failures = sorted(result.failures.values(), key=lambda failure: failure.local_rank)
    for failure in failures:
        message = shares[failure.local_rank].message
        if message.is_file():
            raise KINDS.get(failure.exitcode, RbdmlError)(message.read_text())
    if any(failure.exitcode == ExitCode.INTERRUPTED for failure in failures):
        raise KeyboardInterrupt
    # Ignore processes that ended only because another process had failed.
    causes = [one for one in failures if one.exitcode not in (ExitCode.LEFT_ALONE, -signal.SIGTERM)] or failures
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
    """The last line of a process's output, if it is not on the terminal already."""
    lines = Path(log).read_text(errors="replace").split("\n") if log else []
    return next((f" ({line.strip()})" for line in reversed(lines) if line.strip()), "")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the launcher's log, and restore the signal handlers that it replaces."""
    logger = logging.getLogger("torch.distributed.elastic.multiprocessing")
    level, before = logger.level, {name: signal.getsignal(getattr(signal, name)) for name in SIGNALS}
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
