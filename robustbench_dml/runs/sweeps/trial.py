"""How many passes a second this machine does: a few seconds of training and of attacks."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from robustbench_dml.datasets.base import Dataset
from robustbench_dml.evaluation.context import AttackContext
from robustbench_dml.evaluation.evaluate import attacked_values
from robustbench_dml.models.embedder import Embedder, build_embedder, check_fit
from robustbench_dml.models.wrappers import InOwnPrecision
from robustbench_dml.retrieval.gallery import Gallery
from robustbench_dml.spec.schema import Budget, ComputeUsed, RunSpec, SolverSpec
from robustbench_dml.training.meter import PropagationMeter
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.progress import Progress

SECONDS = 3.0  # of each trial, or one iteration or block where that takes longer
LONGEST = 10.0  # seconds of an iteration beyond which a shorter one stands for it
STEPS = 2  # of the shorter ones


@dataclass(frozen=True)
class Rate:
    """Passes a second.

    Attributes:
        training: with all that a training does.
        evaluation: with all that attacks do beside them.
        iteration: passes of an iteration of training, in its beginning; None where that was not measured.
    """

    training: float
    evaluation: float
    iteration: float | None = None


class Trials:
    """The rates of runs on this machine. What is equally fast is tried once."""

    def __init__(self, load: Callable[[str], Dataset], *, device: torch.device, batch_size: int = 128) -> None:
        """
        Args:
            load: a data set by its name.
            device: as of the runs.
            batch_size: as of their evaluations.
        """
        self._load = functools.cache(load)
        self._device, self._batch_size = device, batch_size
        self.training: dict[tuple[object, ...], float] = {}  # passes a second by data set, backbone, and more
        self.iterations: dict[tuple[object, ...], float | None] = {}  # passes of one, likewise
        self.evaluation: dict[tuple[object, ...], float] = {}

    def rate_of(self, spec: RunSpec) -> Rate:
        """The rate of a run.

        Raises:
            RbdmlError: its data is not here, does not fit its backbone, or cannot fill a batch.
        """
        training, dataset = spec.training, self._load(spec.dataset)
        kind = spec.dataset, spec.backbone
        trained = (
            *kind,
            training.precision,
            training.weight_precision,
            spec.defense,
            training.pairs,
            training.threat.steps,
        )
        attacked = (*kind, spec.evaluation.precision)
        if trained not in self.training:
            self.training[trained], self.iterations[trained] = training_rate(spec, dataset, self._device)
        if attacked not in self.evaluation:
            self.evaluation[attacked] = evaluation_rate(spec, dataset, self._device, self._batch_size)
        return Rate(self.training[trained], self.evaluation[attacked], self.iterations[trained])


def training_rate(spec: RunSpec, dataset: Dataset, device: torch.device) -> tuple[float, float | None]:
    """Passes a second of a training from random weights, and passes of an iteration where it was tried in full."""
    few = Trainer(_few_steps(spec), dataset, device=device)
    rate, _ = _rate_of(few)
    passes = few.spent.passes / few.spent.iterations / (few.spec.training.threat.steps + 1)  # of each step, about
    if passes * (spec.training.threat.steps + 1) > LONGEST * rate:
        return rate, None
    return _rate_of(Trainer(spec, dataset, device=device))


def _rate_of(trainer: Trainer) -> tuple[float, float]:
    """Passes a second of some seconds, and of an iteration, without the first ones, in which everything is set up."""
    first = _spent_after(trainer, 1)
    last = _spent_after(trainer, math.ceil(first.seconds + SECONDS))
    if last.iterations == first.iterations:  # one is longer than the trial
        return first.passes / first.seconds, first.passes / first.iterations
    passes = last.passes - first.passes
    return passes / (last.seconds - first.seconds), passes / (last.iterations - first.iterations)


def _spent_after(trainer: Trainer, seconds: int) -> ComputeUsed:
    trainer.spec = trainer.spec.model_copy(update={"budget": Budget(kind="seconds", amount=seconds)})
    trainer.run(progress=Progress(quiet=True))
    return trainer.spent


def _few_steps(spec: RunSpec) -> RunSpec:
    threat = spec.training.threat
    threat = threat.model_copy(update={"steps": min(threat.steps, STEPS)})
    return spec.model_copy(update={"training": spec.training.model_copy(update={"threat": threat})})


def evaluation_rate(spec: RunSpec, dataset: Dataset, device: torch.device, batch_size: int) -> float:
    """Passes a second of the attacks of protocol `ers` on growing blocks of queries, in a gallery of the right size.

    Args:
        spec: of a run.
        dataset: its data.
        device: as of the run.
        batch_size: as of its evaluation.
    """
    model = build_embedder(check_fit(spec.backbone, dataset.image_shape, dataset.name), seed=0, device=device)
    arena = _arena(model, spec, dataset, device)
    queries, begun = min(8, batch_size), time.monotonic()
    while True:
        block = time.monotonic()
        with PropagationMeter(model.backbone) as meter:
            attacked_values(arena, torch.arange(min(queries, len(arena.split))), batch_size=batch_size)
        rate = (meter.to_input + meter.forward_only / 3) / (time.monotonic() - block)
        if queries >= min(batch_size, len(arena.split)) or time.monotonic() - begun > SECONDS:
            return rate
        queries = min(2 * queries, batch_size)


def _arena(model: Embedder, spec: RunSpec, dataset: Dataset, device: torch.device) -> AttackContext:
    """The model in a gallery of random places: what its attacks cost does not depend on them."""
    split, wrapped = dataset.test.to(device), InOwnPrecision(model).eval()
    with torch.no_grad():
        dimension = wrapped(split.batch(torch.arange(1, device=device))).shape[1]
    places = torch.randn(len(split), dimension, generator=torch.Generator().manual_seed(0))
    evaluation = spec.evaluation.model_copy(
        update={
            "protocol": "ers",
            "extra_attacks": (),
            "solver": SolverSpec(),
            "surrogate": None,
            "threat": spec.evaluation.threat.model_copy(update={"steps": STEPS}),
        }
    )
    return AttackContext(
        model=wrapped,
        split=split,
        gallery=Gallery(F.normalize(places, dim=1).to(device), split.labels),
        evaluation=evaluation,
        dataset=dataset.name,
    )
