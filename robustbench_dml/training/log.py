"""A training in the log of its run, and in TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from robustbench_dml.training.metrics import Logged
from robustbench_dml.training.tensorboard import Scalars
from robustbench_dml.training.trainer import Observer, Trainer
from robustbench_dml.utils.runlog import RunLog

EVERY = 5.0  # seconds between two logged iterations
ROUNDING = 1e-5  # hardness may miss its destination by this much: batches of other sizes round differently


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


def measure(trainer: Trainer) -> dict[str, float]:
    """Return the metrics of the last iteration by name.

    - `loss`
    - `NAME_mean`, `NAME_std`: of every value that the defense logged (see `log_value`), for instance the `hardness`
      of the trained triplets.
    - `at_destination`: share of the triplets whose hardness reached its destination, in [0, 1].
    - `effective_rank`, `mean_cosine`: of the embeddings, as last checked (see `CollapseMonitor`).
    - `passes`, and `forward_only`, `to_input`, `to_weights`: images propagated so far.
    - `seconds`: training time charged so far.

    Metrics that the defense does not provide are missing.
    """
    spent, collapse = trainer.spent, trainer.collapse
    metrics = {"loss": trainer.loss, **_spreads(trainer.logged), **_arrived(trainer.logged)}
    if collapse.rank is not None and collapse.cosine is not None:
        metrics |= {"effective_rank": collapse.rank, "mean_cosine": collapse.cosine}
    return {
        **metrics,
        "passes": spent.passes,
        "forward_only": spent.forward_only,
        "to_input": spent.to_input,
        "to_weights": spent.to_weights,
        "seconds": spent.seconds,
    }


def _spreads(logged: Logged) -> dict[str, float]:
    spreads: dict[str, float] = {}
    for name, values in logged.items():
        if name != "destination":
            spreads[f"{name}_mean"] = float(values.float().mean())
            spreads[f"{name}_std"] = float(values.float().std(correction=0))
    return spreads


def _arrived(logged: Logged) -> dict[str, float]:
    destination, hardness = logged.get("destination"), logged.get("hardness")
    if destination is None or hardness is None or destination.shape != hardness.shape:
        return {}
    return {"at_destination": float((hardness >= destination - ROUNDING).float().mean())}
