"""The contract of an engine: starts jobs somewhere and reports their ends."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence

from robustbench_dml.runs.sweeps.plan import Job


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
