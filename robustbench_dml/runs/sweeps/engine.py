"""The contract of an engine: what starts jobs somewhere and notices that they have ended, whatever came of them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence

from robustbench_dml.runs.sweeps.plan import Job


class Engine(ABC):
    """Does jobs. Whether a job is done is read from its record, never from what an engine believes of it."""

    at_once: int | None = None  # jobs that it wants to have at once; None: all, it keeps a queue of its own

    @abstractmethod
    def start(self, job: Job) -> None:
        """Do a job, now or later."""

    @abstractmethod
    def ended(self, wait: float) -> Sequence[Job]:
        """The jobs that have ended since the last call; where there is none yet, after up to `wait` seconds."""

    @abstractmethod
    def stop(self) -> None:
        """Have every job keep its state and end, and wait for that; a second interrupt is passed on to them."""

    def close(self) -> None:  # noqa: B027 - most have nothing to give back
        """Give back what the engine holds. Called once, at the end."""


def inherited() -> dict[str, str]:
    """The variables of this process that runs elsewhere need, too."""
    return {name: value for name, value in os.environ.items() if name.startswith("RBDML_")}
