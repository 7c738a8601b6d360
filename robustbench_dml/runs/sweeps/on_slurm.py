"""Jobs on a Slurm cluster through submitit. Needs the extra `slurm`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustbench_dml.runs.sweeps.engine import Engine, Work, inherited
from robustbench_dml.runs.sweeps.plan import Job
from robustbench_dml.utils.errors import RbdmlError, reason

FOLDER = ".slurm"  # below the folder of records, for the files of submitit
POLL = 2.0  # seconds between two checks of the jobs
PATIENCE = 120  # seconds for stopped runs to store their states


class OnSlurm(Engine):
    """One Slurm job for each run. A job that is preempted or out of time keeps its state and is queued again."""

    def __init__(self, out: Path, parameters: Mapping[str, str | int], *, cluster: str = "slurm") -> None:
        """
        Args:
            out: the folder of records, shared by all machines.
            parameters: arguments of `submitit.AutoExecutor.update_parameters`: timeout_min, mem_gb, cpus_per_task,
                gpus_per_node, slurm_partition and so on.
            cluster: `local` starts all jobs at once on this machine.

        Raises:
            RbdmlError: submitit is not installed, there is no Slurm, or a parameter is unknown.
        """
        try:
            import submitit
        except ImportError:
            raise RbdmlError("submitit is not installed: pip install 'robustbench-dml[slurm]'") from None
        try:
            self._executor = submitit.AutoExecutor(out / FOLDER, cluster=cluster)
            self._executor.update_parameters(**{"name": "rbdml", **parameters})
        except (RuntimeError, NameError, ValueError, TypeError, AssertionError) as error:
            raise RbdmlError(
                f"Slurm cannot be used so ({reason(error)}): change --slurm, or go to its cluster"
            ) from None
        self._submitted: list[tuple[Any, Job]] = []

    def start(self, job: Job) -> None:
        self._submitted.append((self._executor.submit(_Resuming(job, inherited())), job))

    def ended(self, wait: float) -> list[Job]:
        until = time.monotonic() + wait
        while True:
            done = [(there, job) for there, job in self._submitted if there.done()]  # finished or failed
            self._submitted = [one for one in self._submitted if one not in done]
            if done or time.monotonic() >= until:
                return [job for _, job in done]
            time.sleep(min(POLL, wait))

    def stop(self) -> None:
        for there, _ in self._submitted:
            with contextlib.suppress(ProcessLookupError):
                there.cancel(check=False)
        until = time.monotonic() + PATIENCE
        while not all(there.done() for there, _ in self._submitted) and time.monotonic() < until:
            time.sleep(POLL)


class _Resuming:
    """The submitted call. When Slurm warns that a job's time ends, submitit queues the job again."""

    def __init__(self, job: Job, environment: dict[str, str]) -> None:
        self._job, self._environment = job, environment
        self._work: Work | None = None

    def __call__(self) -> None:
        self._work = Work(self._job, self._environment)
        self._work()

    def checkpoint(self) -> Any:
        import submitit

        if self._work is not None:
            self._work.stop()
            self._work.wait()
        return submitit.helpers.DelayedSubmission(_Resuming(self._job, self._environment))
