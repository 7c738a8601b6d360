"""Carrying a sweep out: jobs go to an engine until each has a record or has failed for good."""

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

POLL = 2.0  # seconds between two looks at runs that other processes do


class SweepObserver(Protocol):
    """Follows a sweep."""

    def finished(self, status: Status) -> None:
        """A run is done, or has failed for good."""

    def again(self, job: Job, attempt: Attempt | None) -> None:
        """A run has failed and is tried again."""

    def stopping(self, running: int) -> None:
        """An interrupt stops this number of runs."""

    def elsewhere(self, job: Job) -> None:
        """A process outside of this sweep does a run; the sweep comes back to it."""


class Sweeping:
    """One sweep under way. Several can share a folder: none does a run that another one is doing."""

    def __init__(self, jobs: Sequence[Job], engine: Engine, observer: SweepObserver, *, retries: int = 0) -> None:
        """
        Args:
            jobs: the runs. Those with a record are reported and not done.
            engine: does the runs.
            observer: follows the sweep.
            retries: repetitions of a run that fails. A training that diverged is not repeated.
        """
        self._waiting = deque(jobs)
        self._engine, self._observer, self._retries = engine, observer, retries
        self._aside: list[Job] = []  # done by others at the moment
        self._running = 0
        self._failures: Counter[str] = Counter()

    def carry_out(self) -> None:
        """Do all runs. On Ctrl-C or SIGTERM let the runs keep their states, then raise KeyboardInterrupt."""
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
        if record is not None or damaged:  # a damaged record is for the user to look at, and to repeat with --force
            self._observer.finished(status_of(job))
        elif job.folder.is_locked():
            self._set_aside(job)
        else:
            self._running += 1
            self._engine.start(job)

    def _judge(self, job: Job) -> None:
        """Report a job whose process ended, or set it aside, or try it again."""
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
        self._observer.finished(status if status.state is State.DONE else failed)  # it may be recorded by now

    def _set_aside(self, job: Job) -> None:
        self._observer.elsewhere(job)
        self._aside.append(job)
