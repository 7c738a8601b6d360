"""Who is told how a training goes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustbench_dml.training import Trainer


class Observer:
    """Is told how a training goes, and does nothing about it. It may look at everything and change nothing."""

    def watching(self, trainer: Trainer) -> AbstractContextManager[None]:
        """Entered before the first iteration of this process, once a checkpoint was taken up; left at the end."""
        return nullcontext()

    def iterated(self, trainer: Trainer) -> None:
        """After every iteration, once its time was charged. `trainer.notes` is what its loss noted."""

    def kept(self, trainer: Trainer) -> None:
        """After a checkpoint was written."""
