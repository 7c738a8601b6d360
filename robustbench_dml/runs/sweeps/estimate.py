"""The cost of a sweep: passes from the specs, hours from rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from robustbench_dml.runs.sweeps.cost import evaluation_passes
from robustbench_dml.runs.sweeps.rates import Rate
from robustbench_dml.runs.sweeps.state import State, Status
from robustbench_dml.spec.parameters import build_defense
from robustbench_dml.spec.schema import RunSpec

Kind = tuple[str, str]  # data set and backbone: runs of one kind stand in one row


@dataclass(frozen=True)
class Remaining:
    """The remaining cost of a run.

    Attributes:
        spec: the run.
        training: the rest of its budget, in passes, iterations or seconds.
        evaluation: passes.
    """

    spec: RunSpec
    training: float
    evaluation: float

    def passes(self, rate: Rate) -> float:
        """Training passes. Iterations cost as measured, or else eta + 1 for each image of their batches."""
        if self.spec.budget.kind == "seconds":
            return self.training * rate.training
        if self.spec.budget.kind == "iterations":
            return self.training * (rate.iteration or self._nominal)
        return self.training

    def seconds(self, rate: Rate) -> float:
        """Seconds of training and evaluation, without starting and loading."""
        in_time = self.spec.budget.kind == "seconds"
        training = self.training if in_time else self.passes(rate) / rate.training
        return training + self.evaluation / rate.evaluation

    @property
    def _nominal(self) -> float:
        training = self.spec.training
        defense = build_defense(self.spec.defense, self.spec.params, training.threat)
        return 2.0 * training.pairs * defense.nominal_cost


@dataclass(frozen=True)
class Estimate:
    """The remaining cost of a part of a sweep.

    Attributes:
        runs: the number of runs.
        recorded: the runs that cost nothing any more.
        training: passes.
        evaluation: passes.
        hours: of one run after another.
    """

    runs: int
    recorded: int
    training: float
    evaluation: float
    hours: float


def remaining(status: Status) -> Remaining:
    """Return the remaining cost of a run that is not recorded, as of its last checkpoint."""
    spec, kept = status.job.spec, status.kept
    trained, evaluated = (kept.trained, kept.evaluated) if kept else (0.0, 0.0)
    return Remaining(spec, spec.budget.amount * (1 - trained), evaluation_passes(spec) * (1 - evaluated))


def estimate(statuses: Sequence[Status], rate_of: Callable[[RunSpec], Rate]) -> dict[Kind, Estimate]:
    """Return the remaining costs by kind of run.

    Args:
        statuses: every run.
        rate_of: the rate of a run; called for runs that are not recorded.
    """
    parts: dict[Kind, list[Status]] = {}
    for one in statuses:
        parts.setdefault((one.job.spec.dataset, one.job.spec.backbone), []).append(one)
    return {kind: _estimate(part, rate_of) for kind, part in parts.items()}


def _estimate(statuses: Sequence[Status], rate_of: Callable[[RunSpec], Rate]) -> Estimate:
    left = [remaining(one) for one in statuses if one.state is not State.DONE]
    rates = [rate_of(one.spec) for one in left]
    return Estimate(
        runs=len(statuses),
        recorded=len(statuses) - len(left),
        training=sum(one.passes(rate) for one, rate in zip(left, rates, strict=True)),
        evaluation=sum(one.evaluation for one in left),
        hours=sum(one.seconds(rate) for one, rate in zip(left, rates, strict=True)) / 3600,
    )


def total(parts: Sequence[Estimate]) -> Estimate:
    """Return the remaining cost of a whole sweep."""
    return Estimate(
        runs=sum(one.runs for one in parts),
        recorded=sum(one.recorded for one in parts),
        training=sum(one.training for one in parts),
        evaluation=sum(one.evaluation for one in parts),
        hours=sum(one.hours for one in parts),
    )
