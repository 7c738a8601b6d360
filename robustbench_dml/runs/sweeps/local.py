"""Jobs on this machine: one thread for each process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from robustbench_dml.runs.sweeps.engine import Engine, Work
from robustbench_dml.runs.sweeps.plan import Job
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.locks import usable_cores


class Local(Engine):
    """Several runs at once, each on a separate device if there are enough."""

    def __init__(self, jobs: int = 1, *, devices: Sequence[str] = (), each: int = 1) -> None:
        """
        Args:
            jobs: the number of runs at once.
            devices: names for CUDA_VISIBLE_DEVICES; if there are too few, jobs share devices.
            each: the number of devices of each run.
        """
        self.at_once = jobs
        self._pool = ThreadPoolExecutor(jobs)
        self._working: dict[Future[None], Work] = {}
        self._slots: SimpleQueue[dict[str, str]] = SimpleQueue()
        for number in range(jobs):
            own = [devices[place % len(devices)] for place in range(number * each, (number + 1) * each) if devices]
            self._slots.put(_environment(jobs * each, ",".join(own)))

    def start(self, job: Job) -> None:
        environment = self._slots.get()  # never waits: no more jobs are started than there are slots
        work = Work(job, environment)
        future = self._pool.submit(work)
        future.add_done_callback(lambda _: self._slots.put(environment))
        self._working[future] = work

    def ended(self, wait: float) -> list[Job]:
        done, _ = futures.wait(self._working, timeout=wait, return_when=futures.FIRST_COMPLETED)
        jobs = []
        for future in done:
            job = self._working.pop(future).job
            log = job.folder.process_log
            try:
                future.result()
            except OSError as error:
                raise RbdmlError(
                    f"cannot write {log} ({error.strerror}): mend that, then give the same command again"
                ) from None
            jobs.append(job)
        return jobs

    def stop(self) -> None:
        while True:
            for work in self._working.values():
                work.stop()
            try:
                futures.wait(self._working)
            except KeyboardInterrupt:
                continue
            return

    def close(self) -> None:
        self._pool.shutdown()


def visible_devices(device: str) -> list[str]:
    """List the usable CUDA devices by their names for CUDA_VISIBLE_DEVICES; none for `cpu` or a single one by name."""
    import torch

    if device not in ("auto", "cuda") or not torch.cuda.is_available():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]


def _environment(processes: int, devices: str) -> dict[str, str]:
    """Return a process's environment variables: its share of the cores, and its devices."""
    shared = {"OMP_NUM_THREADS": str(max(1, usable_cores() // processes))} if processes > 1 else {}
    threads = {} if "OMP_NUM_THREADS" in os.environ else shared
    return {**threads, **({"CUDA_VISIBLE_DEVICES": devices} if devices else {})}
