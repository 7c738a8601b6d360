"""How many passes a second this machine does: a few seconds of training and of attacks."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from robustbench_dml.arena import Arena, InOwnPrecision
from robustbench_dml.budget import PropagationMeter
from robustbench_dml.datasets.base import Dataset
from robustbench_dml.embedder import Embedder, build_embedder, check_fit
from robustbench_dml.evaluation import attacked_values
from robustbench_dml.gallery import Gallery
from robustbench_dml.progress import Progress
from robustbench_dml.protocol import Budget, RunSpec, Search
from robustbench_dml.training import Trainer

SECONDS = 3.0  # of each trial, or one iteration or block where that takes longer
STEPS = 2  # of PGD: as many images a second as with more


@dataclass(frozen=True)
class Rate:
    """Passes a second.

    Attributes:
        training: with all that a training does.
        evaluation: with all that attacks do beside them.
    """

    training: float
    evaluation: float


def measured_rate(spec: RunSpec, dataset: Dataset, *, device: torch.device, batch_size: int = 128) -> Rate:
    """The rates of a run on a device, from random weights and short attacks.

    Args:
        spec: of the run.
        dataset: its data.
        device: as of the run.
        batch_size: as of the run.

    Raises:
        RbdmlError: the data does not fit the backbone, or cannot fill a batch.
    """
    return Rate(
        training=_training_rate(spec, dataset, device),
        evaluation=_evaluation_rate(spec, dataset, device, batch_size),
    )


def _training_rate(spec: RunSpec, dataset: Dataset, device: torch.device) -> float:
    trainer = Trainer(_short(spec, Budget(kind="passes", amount=1)), dataset, device=device)
    trainer.run(progress=Progress(quiet=True))  # one iteration, in which everything is set up
    first = trainer.spent
    trainer.spec = _short(spec, Budget(kind="seconds", amount=math.ceil(first.seconds + SECONDS)))
    trainer.run(progress=Progress(quiet=True))
    last = trainer.spent
    if last.iterations == first.iterations:  # one is longer than the trial
        return first.passes / first.seconds
    return (last.passes - first.passes) / (last.seconds - first.seconds)


def _short(spec: RunSpec, budget: Budget) -> RunSpec:
    """The run with few steps, under another budget."""
    threat = spec.training.threat
    threat = threat.model_copy(update={"steps": min(threat.steps, STEPS)})
    return spec.model_copy(update={"budget": budget, "training": spec.training.model_copy(update={"threat": threat})})


def _evaluation_rate(spec: RunSpec, dataset: Dataset, device: torch.device, batch_size: int) -> float:
    """Of the attacks of protocol `ers` on growing blocks of queries, in a gallery of the right size."""
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


def _arena(model: Embedder, spec: RunSpec, dataset: Dataset, device: torch.device) -> Arena:
    """The model in a gallery of random places: what its attacks cost does not depend on them."""
    split, wrapped = dataset.test.to(device), InOwnPrecision(model).eval()
    with torch.no_grad():
        dimension = wrapped(split.batch(torch.arange(1, device=device))).shape[1]
    places = torch.randn(len(split), dimension, generator=torch.Generator().manual_seed(0))
    evaluation = spec.evaluation.model_copy(
        update={
            "protocol": "ers",
            "also": (),
            "search": Search(),
            "surrogate": None,
            "threat": spec.evaluation.threat.model_copy(update={"steps": STEPS}),
        }
    )
    return Arena(
        model=wrapped,
        split=split,
        gallery=Gallery(F.normalize(places, dim=1).to(device), split.labels, evaluation.precision),
        evaluation=evaluation,
        dataset=dataset.name,
    )
