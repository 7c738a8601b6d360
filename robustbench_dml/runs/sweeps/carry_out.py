"""Carrying a sweep out: jobs to an engine until every one has a record or has failed for good."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Protocol

from robustbench_dml.runs.sweeps.engine import Engine
from robustbench_dml.runs.sweeps.logs import Attempt, last_attempt
from robustbench_dml.runs.sweeps.plan import Job
from robustbench_dml.runs.sweeps.state import Look, State, held, look, record_of
from robustbench_dml.utils.interrupts import ENDING, interrupted_by

POLL = 2.0  # seconds between two looks at runs that other processes are doing


class Told(Protocol):
    """Who is told how a sweep goes."""

    def finished(self, found: Look) -> None:
        """A run is done, or has failed for good."""

    def again(self, job: Job, attempt: Attempt | None) -> None:
        """A run has failed and is tried again."""

    def stopping(self, running: int) -> None:
        """As many runs are being stopped."""

    def elsewhere(self, job: Job) -> None:
        """A run is being done by a process that is not of this sweep; it will be looked at again."""


class Sweeping:
    """One sweep under way. Others may be at work on the same folder: none does a run that another one is doing."""

    def __init__(self, jobs: Sequence[Job], engine: Engine, told: Told, *, retries: int = 0) -> None:
        """
        Args:
            jobs: to be done; those that have records are told and not done.
            engine: does them.
            told: is told.
            retries: how often a run that fails is tried again. One that diverged is not: it would do so again.
        """
        self._waiting = deque(jobs)
        self._engine, self._told, self._retries = engine, told, retries
        self._aside: list[Job] = []  # done by others at the moment
        self._running = 0
        self._failures: Counter[str] = Counter()

    def carry_out(self) -> None:
        """Do all; on an interrupt or SIGTERM have what runs keep its state, then raise KeyboardInterrupt."""
        try:
            with interrupted_by(*ENDING):
                try:
                    while self._waiting or self._aside or self._running:
                        self._step()
                except BaseException:
                    self._told.stopping(self._running)
                    self._engine.stop()
                    raise
        finally:
            self._engine.close()

    def _step(self) -> None:
        """Start what can be started, then wait for an end."""
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
        if record is not None or damaged:  # a damaged one is for its user to look at, and to repeat with --force
            self._told.finished(look(job))
        elif held(job.lock):
            self._set_aside(job)
        else:
            self._running += 1
            self._engine.start(job)

    def _judge(self, job: Job) -> None:
        """What came of a job that an engine calls ended."""
        attempt = last_attempt(job.log)
        if record_of(job)[0] is not None:
            self._told.finished(look(job))
        elif held(job.lock) or (attempt is not None and attempt.refused):
            self._set_aside(job)
        else:
            self._failed(job, attempt)

    def _failed(self, job: Job, attempt: Attempt | None) -> None:
        self._failures[job.spec.digest] += 1
        if self._failures[job.spec.digest] <= self._retries and not (attempt is not None and attempt.diverged):
            self._told.again(job, attempt)
            self._waiting.append(job)
            return
        found = look(job)
        why = attempt.why if attempt else "its process was lost"
        failed = Look(job, State.FAILED, kept=found.kept, why=found.why or why)
        self._told.finished(found if found.state is State.DONE else failed)  # it may be recorded by now

    def _set_aside(self, job: Job) -> None:
        self._told.elsewhere(job)
        self._aside.append(job)
