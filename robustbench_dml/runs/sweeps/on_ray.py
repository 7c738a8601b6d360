"""Jobs on a Ray cluster; its machines share the folder of records. Needs the extra `ray`."""

from __future__ import annotations

import socket
from typing import Any

from robustbench_dml.runs.sweeps.engine import Engine, Work, inherited
from robustbench_dml.runs.sweeps.plan import Job
from robustbench_dml.utils.errors import RbdmlError, reason

RESTARTS = 3  # of a run whose worker or node was lost
PATIENCE = 120  # seconds for stopped runs to store their states


class OnRay(Engine):
    """One Ray task for each run. After the loss of a node Ray starts the task elsewhere, from the last checkpoint."""

    def __init__(self, address: str = "auto", *, cpus: float = 1, gpus: float = 0) -> None:
        """
        Args:
            address: host:port of a running cluster, or `auto` for the cluster of this machine.
            cpus: cores of each run; PyTorch has as many threads.
            gpus: GPUs of each run; with a fraction, runs share one.

        Raises:
            RbdmlError: Ray is not installed, or there is no cluster.
        """
        try:
            import ray
        except ImportError:
            raise RbdmlError("Ray is not installed: pip install 'robustbench-dml[ray]', on every machine") from None
        self._ray = ray
        try:
            _reach(address)
            ray.init(address=address, log_to_driver=False, logging_level="error", configure_logging=False)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            cause = reason(error).partition(". ")[0]
            raise RbdmlError(
                f"no Ray cluster at '{address}' ({cause}): start one with `ray start --head`, or give --ray-address"
            ) from None
        self._do = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RESTARTS)(_do)
        self._tasks: dict[Any, Job] = {}

    def start(self, job: Job) -> None:
        self._tasks[self._do.remote(job, inherited())] = job

    def ended(self, wait: float) -> list[Job]:
        tasks = list(self._tasks)
        if not tasks:
            return []
        first, _ = self._ray.wait(tasks, num_returns=1, timeout=wait)
        done, _ = self._ray.wait(tasks, num_returns=len(tasks), timeout=0) if first else ([], tasks)
        return [self._tasks.pop(task) for task in done]

    def stop(self) -> None:
        for task in self._tasks:
            self._ray.cancel(task)  # raises KeyboardInterrupt in the task
        self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=PATIENCE)

    def close(self) -> None:
        self._ray.shutdown()


def _reach(address: str) -> None:
    """Raise at once if no cluster answers: Ray would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def _do(job: Job, environment: dict[str, str]) -> None:
    Work(job, environment)()
