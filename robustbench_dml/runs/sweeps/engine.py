"""The contract of an engine, and its unit of work: one run in a separate process, which can be stopped and repeated."""

from __future__ import annotations

import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from robustbench_dml.runs.sweeps import logs
from robustbench_dml.runs.sweeps.plan import Job

POLL = 0.5  # seconds between two checks of the child process, so that this process handles signals in the meantime


class Engine(ABC):
    """Does jobs. The record of a job decides if it is done; an engine only reports the end of its process."""

    at_once: int | None = None  # largest number of jobs at once; None for an engine with its own queue

    @abstractmethod
    def start(self, job: Job) -> None:
        """Start a job, now or later."""

    @abstractmethod
    def ended(self, wait: float) -> Sequence[Job]:
        """Return the jobs that ended since the last call. Wait up to `wait` seconds for the first."""

    @abstractmethod
    def stop(self) -> None:
        """Stop all jobs with their states kept, and wait for their ends. A second interrupt is passed on."""

    def close(self) -> None:  # noqa: B027 - most engines hold no resources
        """Release the resources of the engine. Called once, at the end."""


def inherited() -> dict[str, str]:
    """Return the environment variables that runs on other machines need, too."""
    return {name: value for name, value in os.environ.items() if name.startswith("RBDML_")}


class Work:
    """Do a run in a process."""

    def __init__(self, job: Job, environment: Mapping[str, str] | None = None) -> None:
        self.job = job
        self._environment = dict(environment or {})  # variables added to those of this process
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def __call__(self) -> None:
        """Do the run, unless it is recorded or another process does it. The outcome is on disk.

        Raises:
            OSError: the log cannot be written.
        """
        folder = self.job.folder
        if self._stopped or folder.record_file.is_file() or folder.is_locked():
            return
        folder.process_log.parent.mkdir(parents=True, exist_ok=True)
        with folder.process_log.open("ab") as log:
            logs.begin(log, self.job.command)
            begun, code = time.monotonic(), None
            # A new session: Ctrl-C reaches this process alone, and `stop` then ends the child.
            self._process = subprocess.Popen(  # noqa: S603 - this project's program with a checked task, and no shell
                self.job.task.words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )
            try:
                if self._stopped:  # `stop` was called while the process started
                    self.stop()
                code = self.wait()
            except BaseException:
                self.stop()
                code = self.wait()
                raise
            finally:
                if code is not None:
                    logs.end(log, code, time.monotonic() - begun)

    def stop(self) -> None:
        """Ask the process to store its state and end. A second call ends the process at once."""
        self._stopped = True
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self) -> int | None:
        """Wait for the end of the process, if there is one, and return its exit code."""
        while self._process is not None:
            try:
                return self._process.wait(timeout=POLL)
            except subprocess.TimeoutExpired:
                continue
        return None
