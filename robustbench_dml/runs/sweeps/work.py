"""The unit of work of every engine: one run in a process of its own, which can be stopped and done again."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping

from robustbench_dml.runs.sweeps import logs
from robustbench_dml.runs.sweeps.plan import Job

POLL = 0.5  # seconds between two looks at a process: a signal to this one must not wait for the other's end


class Work:
    """A run that is to be done in a process."""

    def __init__(self, job: Job, environment: Mapping[str, str] | None = None) -> None:
        """
        Args:
            job: the run.
            environment: variables for its process, beside those of this one.
        """
        self.job = job
        self._environment = dict(environment or {})
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
            # In a session of its own, so that Ctrl-C reaches this process alone, which stops it in its own way.
            self._process = subprocess.Popen(  # noqa: S603 - our own program with a checked task, and no shell
                self.job.task.words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )
            try:
                if self._stopped:  # while it was started
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
        """Have the process keep its state and end. A second call ends it at once."""
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
