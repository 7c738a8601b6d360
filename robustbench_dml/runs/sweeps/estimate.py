"""What a sweep will cost: passes from the specs, hours from the passes a second of a machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from robustbench_dml.runs.sweeps.counting import evaluation_passes
from robustbench_dml.runs.sweeps.state import Look, State
from robustbench_dml.runs.sweeps.trial import Rate
from robustbench_dml.spec.parameters import build_defense
from robustbench_dml.spec.schema import RunSpec

Kind = tuple[str, str]  # of runs that stand in one row: data set, backbone


@dataclass(frozen=True)
class Left:
    """What is left of a run.

    Attributes:
        spec: of the run.
        training: of its budget, in passes, iterations or seconds.
        evaluation: in passes.
    """

    spec: RunSpec
    training: float
    evaluation: float

    def passes(self, rate: Rate) -> float:
        """Of training: where the budget is a time, those that fit into it; where it is iterations, as many for each as
        were measured, or else eta + 1 for each of its images."""
        if self.spec.budget.kind == "seconds":
            return self.training * rate.training
        if self.spec.budget.kind == "iterations":
            return self.training * (rate.iteration or self._nominal)
        return self.training

    def seconds(self, rate: Rate) -> float:
        """Of training and evaluation, with nothing beside them."""
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
    """What is left of a part of a sweep.

    Attributes:
        runs: all.
        recorded: of them, which cost nothing any more.
        training: passes.
        evaluation: passes.
        hours: of one run after another.
    """

    runs: int
    recorded: int
    training: float
    evaluation: float
    hours: float


def left_of(found: Look) -> Left:
    """What is left of a run that is not recorded, as of its last checkpoint."""
    spec = found.job.spec
    trained, evaluated = (found.kept.trained, found.kept.evaluated) if found.kept else (0.0, 0.0)
    return Left(spec, spec.budget.amount * (1 - trained), evaluation_passes(spec) * (1 - evaluated))


def estimate(looks: Sequence[Look], rate_of: Callable[[RunSpec], Rate]) -> dict[Kind, Estimate]:
    """The costs of what is left, by kind of run.

    Args:
        looks: at every run.
        rate_of: passes a second of a run; asked for those that are left.
    """
    found: dict[Kind, Estimate] = {}
    kinds = [(one.job.spec.dataset, one.job.spec.backbone) for one in looks]
    for kind in dict.fromkeys(kinds):
        own = [one for one, of in zip(looks, kinds, strict=True) if of == kind]
        left = [left_of(one) for one in own if one.state is not State.DONE]
        rates = [rate_of(one.spec) for one in left]
        found[kind] = Estimate(
            runs=len(own),
            recorded=len(own) - len(left),
            training=sum(one.passes(rate) for one, rate in zip(left, rates, strict=True)),
            evaluation=sum(one.evaluation for one in left),
            hours=sum(one.seconds(rate) for one, rate in zip(left, rates, strict=True)) / 3600,
        )
    return found


def total(parts: Sequence[Estimate]) -> Estimate:
    """Of a whole sweep."""
    return Estimate(
        runs=sum(one.runs for one in parts),
        recorded=sum(one.recorded for one in parts),
        training=sum(one.training for one in parts),
        evaluation=sum(one.evaluation for one in parts),
        hours=sum(one.hours for one in parts),
    )
