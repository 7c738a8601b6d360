"""The cost of a sweep: passes from the specs, hours from the rates of its runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from operator import add

from robustbench_dml.runs.rates import Rate, evaluation_passes, training_passes
from robustbench_dml.runs.sweeps.state import State, Status
from robustbench_dml.spec.schema import RunSpec

Kind = tuple[str, str]  # data set and backbone: runs of one kind stand in one row


@dataclass(frozen=True)
class Estimate:
    """The remaining cost of some runs."""

    runs: int = 0  # the number of runs
    recorded: int = 0  # the number of recorded runs; they cost nothing
    training: float = 0  # passes of training
    evaluation: float = 0  # passes of evaluation
    hours: float = 0  # hours of one run after another, without starting and loading

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(*map(add, astuple(self), astuple(other)))


def estimate(statuses: Sequence[Status], rate_of: Callable[[RunSpec], Rate]) -> dict[Kind, Estimate]:
    """Return the remaining costs by kind of run. Runs that differ in their evaluation alone share one training.

    Args:
        statuses: every run.
        rate_of: the rate of a run; called for runs that are not recorded.
    """
    parts: dict[Kind, Estimate] = {}
    trained = {status.job.spec.recipe for status in statuses if status.state is State.DONE}
    for status in statuses:
        spec = status.job.spec
        kind = spec.dataset, spec.backbone
        parts[kind] = parts.get(kind, Estimate()) + _remaining(status, rate_of, trains=spec.recipe not in trained)
        trained.add(spec.recipe)
    return parts


def total(parts: Sequence[Estimate]) -> Estimate:
    """Return the remaining cost of a whole sweep."""
    return sum(parts, Estimate())


def _remaining(status: Status, rate_of: Callable[[RunSpec], Rate], *, trains: bool) -> Estimate:
    """The remaining cost of a run, as of its last checkpoint."""
    if status.state is State.DONE:
        return Estimate(runs=1, recorded=1)
    spec, kept = status.job.spec, status.kept
    rate, trained, evaluated = rate_of(spec), kept.trained if kept else 0.0, kept.evaluated if kept else 0.0
    training = training_passes(spec, rate) * (1 - trained) if trains else 0.0
    evaluation = evaluation_passes(spec) * (1 - evaluated)
    hours = (training / rate.training + evaluation / rate.evaluation) / 3600
    return Estimate(runs=1, training=training, evaluation=evaluation, hours=hours)
