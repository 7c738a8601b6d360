"""The cost of a run in a line: before it starts, and after a warm-up if no earlier record has a rate."""

from __future__ import annotations

from collections.abc import Callable

from robustbench_dml.runs.rates import Rate, evaluation_passes, training_passes
from robustbench_dml.spec.budgets import short_passes, short_time
from robustbench_dml.spec.schema import ComputeUsed, ExternalSpec, RunSpec
from robustbench_dml.training.log import TrainingLog
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.runlog import RunLog

WARM_UP = 10.0  # seconds of training after the first iteration, in which a rate is measured


def training_forecast(spec: RunSpec, rate: Rate | None) -> str:
    """Return the passes of training and evaluation, and their time at a rate.

    Args:
        spec: the run.
        rate: the rate of earlier records, None without any.
    """
    evaluation = evaluation_forecast(spec, rate.evaluation if rate else None)
    if spec.budget.amount == 0:
        return evaluation
    origin = "at the rates of earlier records" if rate else f"the time follows after {WARM_UP:.0f} s of training"
    if spec.budget.kind == "seconds":
        return f"training {short_time(spec.budget.amount)}; {evaluation}; {origin}"
    training = _part(training_passes(spec, rate), rate.training if rate else None)
    return f"training {training}; {evaluation}; {origin}"


def evaluation_forecast(spec: RunSpec | ExternalSpec, rate: float | None) -> str:
    """Return the most passes that an evaluation takes, and their time at a rate in passes per second."""
    return f"evaluation at most {_part(evaluation_passes(spec), rate)}"


def _part(passes: float, rate: float | None) -> str:
    time = f", about {short_time(passes / rate)}" if rate else ""
    return f"{short_passes(passes)} passes{time}"


class Forecasts(TrainingLog):
    """The log of a training that measures its rate and prints the time that remains, once."""

    def __init__(self, log: RunLog, *, scalars: bool, say: Callable[[str], None]) -> None:
        """
        Args:
            log: as in `TrainingLog`.
            scalars: as in `TrainingLog`.
            say: prints a line.
        """
        super().__init__(log, scalars=scalars)
        self._say = say
        self._first: ComputeUsed | None = None  # after the first iteration, which may compile and allocate
        self._said = False

    def iterated(self, trainer: Trainer) -> None:
        """See `Observer`."""
        super().iterated(trainer)
        spent = trainer.spent
        if self._first is None:
            self._first = spent
        elif not self._said and spent.seconds - self._first.seconds >= WARM_UP:
            self._said = True
            self._say(_left(trainer.spec, self._first, spent))


def _left(spec: RunSpec, first: ComputeUsed, spent: ComputeUsed) -> str:
    """The time that remains at the rate between two moments of training."""
    seconds, budget = spent.seconds - first.seconds, spec.budget
    rate = (spent.passes - first.passes) / seconds
    progress = (spent.of(budget) - first.of(budget)) / seconds
    training = short_time(max(0.0, budget.amount - spent.of(budget)) / progress)
    return f"{rate:,.0f} passes/s: training about {training} more; {evaluation_forecast(spec, rate)}"
