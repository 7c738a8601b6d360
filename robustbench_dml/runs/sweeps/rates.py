"""Passes per second of runs on this machine, from records or from plain passes of the network."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch

from robustbench_dml.models.embedder import build_embedder
from robustbench_dml.runs.record import Cost, Record, read_record, record_folders
from robustbench_dml.runs.sweeps.cost import evaluation_passes
from robustbench_dml.spec.registry import BACKBONES
from robustbench_dml.spec.schema import ExternalSpec, RunSpec
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.provenance import device_name
from robustbench_dml.utils.runlog import read_log

SECONDS = 3.0  # length of a measurement; one batch if a batch takes longer
SIDE = 224  # pixels of the images of a backbone that takes any size

Spec = RunSpec | ExternalSpec


@dataclass(frozen=True)
class Rate:
    """Passes per second.

    Attributes:
        training: passes per second in training.
        evaluation: passes per second in evaluation, counted as in `cost.evaluation_passes`.
        iteration: passes of one training iteration, if a record of the same training stores them.
    """

    training: float
    evaluation: float
    iteration: float | None = None


class Rates:
    """The rates of runs, from records on this device if there are any."""

    def __init__(self, out: Path, device: torch.device) -> None:
        """
        Args:
            out: the folder of records.
            device: the device of the runs.
        """
        self._device, name = device, device_name(device)
        self._costs: list[tuple[Spec, Cost]] = []  # costs of training on this device
        self._evaluations: list[tuple[Spec, float, float]] = []  # passes and seconds on this device
        self._plain: dict[tuple[object, ...], float] = {}
        self.notes: dict[str, None] = {}  # the origin of each rate in a line, in the order of their use
        for folder in record_folders(out):
            with suppress(RbdmlError):  # a damaged record has no rate
                self._add(folder, read_record(folder), name)

    def _add(self, folder: Path, record: Record, device: str) -> None:
        if record.cost is not None and record.training_end is not None and record.training_end.device == device:
            self._costs.append((record.spec, record.cost))
        seconds = _evaluation_seconds(folder)
        if seconds and record.provenance.device == device:
            self._evaluations.append((record.spec, evaluation_passes(record.spec), seconds))

    def rate_of(self, spec: RunSpec) -> Rate:
        """Return the rate of a run: the mean of the records on the same data set, backbone, precision and device."""
        where = f"{spec.dataset}, {spec.backbone}"
        costs = [cost for other, cost in self._costs if _training_kind(other) == _training_kind(spec)]
        if not costs:
            rate = self._plain_rate(spec)
            self.notes[f"Measured here, {where}: {rate:,.0f} plain passes/s; mining and attacks take more time"] = None
            return Rate(rate, rate)
        rate = sum(cost.passes for cost in costs) / sum(cost.spent.seconds for cost in costs)
        evaluated = [each for each in self._evaluations if _evaluation_kind(each[0]) == _evaluation_kind(spec)]
        seconds = sum(seconds for _, _, seconds in evaluated)
        evaluation = sum(passes for _, passes, _ in evaluated) / seconds if evaluated else rate
        count = f"{len(costs)} record{'' if len(costs) == 1 else 's'}"
        self.notes[f"From {count}, {where}: {rate:,.0f} passes/s in training, {evaluation:,.0f} in evaluation"] = None
        same = [cost for other, cost in self._costs if _training(other) == _training(spec)]
        iterations = sum(cost.spent.iterations for cost in same)
        return Rate(rate, evaluation, sum(cost.passes for cost in same) / iterations if same else None)

    def _plain_rate(self, spec: RunSpec) -> float:
        kind = spec.backbone, spec.training.precision, spec.training.pairs
        if kind not in self._plain:
            self._plain[kind] = plain_rate(spec, self._device)
        return self._plain[kind]


def plain_rate(spec: RunSpec, device: torch.device) -> float:
    """Measure forward and backward passes of a run's network for some seconds, on batches of random images."""
    info = BACKBONES.get(spec.backbone)
    model, side = build_embedder(info, seed=0, device=device).eval(), info.side or max(SIDE, info.least_side)
    images = torch.rand(2 * spec.training.pairs, info.channels, side, side, device=device)
    with model.in_precision(spec.training.precision):
        model(images[:2]).sum().backward()  # warm-up
        done, begun = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - begun) < SECONDS:
            model(images).sum().backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            done += len(images)
    return done / elapsed


def _evaluation_seconds(folder: Path) -> float | None:
    """The seconds between training and record in a log, if no value of an attack was stored before."""
    events = read_log(folder)
    begins = [place for place, event in enumerate(events) if event["event"] in ("start", "trained")]
    if not begins or events[-1]["event"] != "record":
        return None
    evaluation = events[begins[-1] :]
    if any(event.get("known_before") for event in evaluation):
        return None
    first, last = (datetime.fromisoformat(event["time"]) for event in (evaluation[0], evaluation[-1]))
    return (last - first).total_seconds()


def _training_kind(spec: Spec) -> tuple[object, ...]:
    training = spec.training
    return spec.dataset, spec.network, training and (training.precision, training.weight_precision)


def _evaluation_kind(spec: Spec) -> tuple[object, ...]:
    return spec.dataset, spec.network, spec.evaluation.precision, spec.evaluation.protocol


def _training(spec: Spec) -> tuple[object, ...]:
    return spec.defense, spec.params, spec.training
