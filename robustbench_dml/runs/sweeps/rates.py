"""Passes a second of runs on this machine: measured by records, or else by plain passes of the network."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch

from robustbench_dml.models.embedder import build_embedder
from robustbench_dml.runs.record import Record, read_record, record_folders
from robustbench_dml.runs.sweeps.cost import evaluation_passes
from robustbench_dml.spec.registry import BACKBONES
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.provenance import device_name
from robustbench_dml.utils.runlog import read_log

SECONDS = 3.0  # of a measurement, or one batch if that takes longer
SIDE = 224  # pixels of the images of a backbone that takes any size


@dataclass(frozen=True)
class Rate:
    """Passes a second.

    Attributes:
        training: in training.
        evaluation: in evaluation, by the passes of `cost.evaluation_passes`.
        iteration: passes of one training iteration, if a record of the same training has them.
    """

    training: float
    evaluation: float
    iteration: float | None = None


@dataclass(frozen=True)
class _Measured:
    """A record with the seconds of its evaluation, None if its log does not have them."""

    record: Record
    spec: RunSpec
    seconds: float | None


class Rates:
    """The rates of runs, from records on this device where there are some."""

    def __init__(self, out: Path, device: torch.device) -> None:
        """
        Args:
            out: the folder of records.
            device: the device of the runs.
        """
        self._device, self._name = device, device_name(device)
        self._records = list(_measured(out))
        self._plain: dict[tuple[object, ...], float] = {}
        self.notes: dict[str, None] = {}  # the origin of the rates, a line each, in the order of their use

    def rate_of(self, spec: RunSpec) -> Rate:
        """Return the rate of a run: the mean of the records on the same data set, backbone, precision and device."""
        kind, where = _training_kind(spec), f"{spec.dataset}, {spec.backbone}"
        trained = [
            one.record.cost
            for one in self._records
            if one.record.training_end is not None and one.record.training_end.device == self._name
            if one.record.cost is not None and _training_kind(one.spec) == kind
        ]
        if not trained:
            rate = self._plain_rate(spec)
            self.notes[f"Measured here, {where}: {rate:,.0f} plain passes/s; mining and attacks take more time"] = None
            return Rate(rate, rate)
        rate = sum(cost.passes for cost in trained) / sum(cost.spent.seconds for cost in trained)
        evaluated = [
            (evaluation_passes(one.spec), one.seconds)
            for one in self._records
            if one.seconds and one.record.provenance.device == self._name
            if _evaluation_kind(one.spec) == _evaluation_kind(spec)
        ]
        attacks = sum(passes for passes, _ in evaluated) / sum(took for _, took in evaluated) if evaluated else rate
        same = [one for one in self._records if _same_training(one.spec, spec) and one.record.cost is not None]
        iterations = [one.record.cost.passes / one.record.cost.spent.iterations for one in same if one.record.cost]
        many = f"{len(trained)} record{'' if len(trained) == 1 else 's'}"
        self.notes[f"From {many}, {where}: {rate:,.0f} passes/s in training, {attacks:,.0f} in evaluation"] = None
        return Rate(rate, attacks, sum(iterations) / len(iterations) if iterations else None)

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
        model(images[:2]).sum().backward()  # sets everything up
        done, begun = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - begun) < SECONDS:
            model(images).sum().backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            done += len(images)
    return done / elapsed


def _measured(out: Path) -> list[_Measured]:
    found = []
    for folder in record_folders(out):
        with suppress(RbdmlError):  # a damaged record has no rate
            record = read_record(folder)
            if isinstance(record.spec, RunSpec):
                found.append(_Measured(record, record.spec, _evaluation_seconds(folder)))
    return found


def _evaluation_seconds(folder: Path) -> float | None:
    """The seconds between training and record in a log, if no value of an attack was known before."""
    events = read_log(folder)
    begins = [place for place, event in enumerate(events) if event["event"] in ("start", "trained")]
    if not begins or events[-1]["event"] != "record":
        return None
    evaluation = events[begins[-1] :]
    if any(event.get("known_before") for event in evaluation):
        return None
    first, last = (datetime.fromisoformat(event["time"]) for event in (evaluation[0], evaluation[-1]))
    return (last - first).total_seconds()


def _training_kind(spec: RunSpec) -> tuple[object, ...]:
    return spec.dataset, spec.backbone, spec.training.precision, spec.training.weight_precision


def _evaluation_kind(spec: RunSpec) -> tuple[object, ...]:
    return spec.dataset, spec.backbone, spec.evaluation.precision, spec.evaluation.protocol


def _same_training(one: RunSpec, other: RunSpec) -> bool:
    return (one.defense, one.params, one.training) == (other.defense, other.params, other.training)
