"""A training in the log of its run, and in TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from robustbench_dml.training.measures import measure
from robustbench_dml.training.tensorboard import Scalars
from robustbench_dml.training.trainer import Observer, Trainer
from robustbench_dml.utils.runlog import RunLog

EVERY = 5.0  # seconds between two logged iterations


class TrainingLog(Observer):
    """Logs the first iteration, at most one every `EVERY` seconds after it, and the last one."""

    def __init__(self, log: RunLog, *, scalars: bool = False) -> None:
        """
        Args:
            log: the run's log.
            scalars: write TensorBoard scalars, too.
        """
        self._log, self._with_scalars = log, scalars
        self._scalars: Scalars | None = None
        self._written: tuple[int, float] | None = None  # last logged iteration, and when
        self._collapse_logged = False

    @contextmanager
    def watching(self, trainer: Trainer) -> Iterator[None]:
        """See `Observer`."""
        done = trainer.spent.iterations
        if done:
            self._log.write("resumed", iterations=done, passes=trainer.spent.passes, seconds=trainer.spent.seconds)
        if self._with_scalars:
            self._scalars = Scalars(self._log.path.parent, step=done + 1)
        self._collapse_logged = trainer.collapse.confirmed
        yield
        last = trainer.spent.iterations
        if self._written is not None and self._written[0] < last:
            self._measure(trainer)
        end = trainer.end
        self._log.write(
            "trained",
            iterations=last,
            passes=trainer.spent.passes,
            seconds=trainer.spent.seconds,
            stopped=end.stopped,
            collapsed_at=end.collapsed_at,
        )

    def iterated(self, trainer: Trainer) -> None:
        """See `Observer`."""
        if self._written is None or monotonic() - self._written[1] >= EVERY:
            self._measure(trainer)
        if trainer.collapse.confirmed and not self._collapse_logged:
            self._collapse_logged = True
            self._log.write("collapse", since=trainer.collapse.since, cause=trainer.collapse.cause)

    def kept(self, trainer: Trainer) -> None:
        """See `Observer`."""
        self._log.write("checkpoint", iterations=trainer.spent.iterations, passes=trainer.spent.passes)

    def _measure(self, trainer: Trainer) -> None:
        step, metrics = trainer.spent.iterations, measure(trainer)
        self._log.write("training", iterations=step, **metrics)
        if self._scalars is not None:
            self._scalars.write(step, metrics)
        self._written = step, monotonic()
