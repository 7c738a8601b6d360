"""Do a sweep: hand jobs to an engine until each has a record or can no longer be retried."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Protocol

from robustbench_dml.runs.exits import ExitCode
from robustbench_dml.runs.sweeps.engine import Engine
from robustbench_dml.runs.sweeps.logs import Attempt, last_attempt
from robustbench_dml.runs.sweeps.plan import Job
from robustbench_dml.runs.sweeps.state import State, Status, record_of, status_of
from robustbench_dml.utils.interrupts import ENDING, interrupted_by

POLL = 2.0  # seconds between two checks of runs that other processes do


class SweepObserver(Protocol):
    """Follows a sweep."""

    def finished(self, status: Status) -> None:
        """Report a finished run, or a failed run that will not be retried."""

    def again(self, job: Job, attempt: Attempt | None) -> None:
        """Report a run that will be retried."""

    def stopping(self, running: int) -> None:
        """Report an interrupt that stops `running` runs."""

    def elsewhere(self, job: Job) -> None:
        """Report a run that a process outside of this sweep is working on; the sweep checks it again later."""


class Sweeping:
    """One sweep. Several sweeps can share a folder: no sweep does a run that another sweep is doing."""

    def __init__(self, jobs: Sequence[Job], engine: Engine, observer: SweepObserver, *, retries: int = 0) -> None:
        """
        Args:
            jobs: the runs. Runs with a record are reported and not repeated.
            engine: does the runs.
            observer: follows the sweep.
            retries: repetitions of a run that fails. A training that diverged is not repeated.
        """
        self._waiting = deque(jobs)
        self._engine, self._observer, self._retries = engine, observer, retries
        self._aside: list[Job] = []  # jobs that other processes are working on
        self._running = 0
        self._failures: Counter[str] = Counter()

    def carry_out(self) -> None:
        """Do all runs. On Ctrl-C or SIGTERM let the runs store their states, then raise KeyboardInterrupt."""
        try:
            with interrupted_by(*ENDING):
                try:
                    while self._waiting or self._aside or self._running:
                        self._step()
                except BaseException:
                    self._observer.stopping(self._running)
                    self._engine.stop()
                    raise
        finally:
            self._engine.close()

    def _step(self) -> None:
        """Start the runs that the engine has room for, then wait for an end."""
        while self._waiting and (self._engine.at_once is None or self._running < self._engine.at_once):
            self._take(self._waiting.popleft())
        for job in self._engine.ended(POLL) if self._running else ():
            self._running -= 1
            self._judge(job)
        if self._aside:
            if not self._running:
                time.sleep(POLL)
            self._waiting += self._aside
            self._aside = []

    def _take(self, job: Job) -> None:
        record, damaged = record_of(job)
        if record is not None or damaged:  # the user should inspect a damaged record and repeat it with --force
            self._observer.finished(status_of(job))
        elif job.folder.is_locked():
            self._set_aside(job)
        else:
            self._running += 1
            self._engine.start(job)

    def _judge(self, job: Job) -> None:
        """Report a job whose process ended, or set the job aside, or retry it."""
        attempt = last_attempt(job.folder.process_log)
        if record_of(job)[0] is not None:
            self._observer.finished(status_of(job))
        elif job.folder.is_locked() or (attempt is not None and attempt.code == ExitCode.BUSY):
            self._set_aside(job)
        else:
            self._failed(job, attempt)

    def _failed(self, job: Job, attempt: Attempt | None) -> None:
        self._failures[job.spec.digest] += 1
        diverged = attempt is not None and attempt.code == ExitCode.DIVERGED
        if self._failures[job.spec.digest] <= self._retries and not diverged:
            self._observer.again(job, attempt)
            self._waiting.append(job)
            return
        status = status_of(job)
        why = attempt.why if attempt else "its process was lost"
        failed = Status(job, State.FAILED, kept=status.kept, why=status.why or why)
        self._observer.finished(status if status.state is State.DONE else failed)  # a record may exist by now

    def _set_aside(self, job: Job) -> None:
        self._observer.elsewhere(job)
        self._aside.append(job)
