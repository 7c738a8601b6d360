"""The cost of runs in passes, and their rates: of earlier records, or of plain passes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch

from robustbench_dml.datasets.corruptions import KINDS
from robustbench_dml.evaluation.attack import Attack
from robustbench_dml.evaluation.corrupted import Corrupted
from robustbench_dml.evaluation.diagnostics.gradients import PASSES
from robustbench_dml.evaluation.diagnostics.strength import check_passes
from robustbench_dml.evaluation.diagnostics.suite import ATTACKED, SAMPLE
from robustbench_dml.evaluation.ensemble import WorstCase
from robustbench_dml.evaluation.radius import RadiusAttack
from robustbench_dml.models.embedder import build_embedder
from robustbench_dml.runs.record import Cost, Record, read_record, record_folders
from robustbench_dml.solvers.base import FORWARD, Solver
from robustbench_dml.solvers.ensemble import Ensemble
from robustbench_dml.solvers.minimal_radius import MinimalRadius
from robustbench_dml.solvers.transfer import Transfer
from robustbench_dml.spec.parameters import build_defense
from robustbench_dml.spec.protocols import attacks_of
from robustbench_dml.spec.registry import ATTACKS, BACKBONES, DATASETS, SOLVERS
from robustbench_dml.spec.schema import Evaluation, ExternalSpec, RunSpec, Threat
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.provenance import device_name
from robustbench_dml.utils.runlog import read_log

SECONDS = 3.0  # length of a measurement; one batch if a batch takes longer
SIDE = 224  # pixels of the images of a backbone that takes any size

Spec = RunSpec | ExternalSpec


def training_passes(spec: RunSpec, rate: Rate | None) -> float:
    """Return the image passes of a training. A budget of time takes a rate, and has none without it."""
    amount = float(spec.budget.amount)
    if spec.budget.kind == "seconds":
        return amount * rate.training if rate else 0.0
    if spec.budget.kind == "iterations":
        return amount * ((rate.iteration if rate else None) or _nominal_passes(spec))
    return amount


def _nominal_passes(spec: RunSpec) -> float:
    """The passes of a training iteration if none was measured: eta + 1 for each image of the batch."""
    defense = build_defense(spec.defense, spec.params, spec.training.threat)
    return 2.0 * spec.training.pairs * float(defense.nominal_cost)


def evaluation_passes(spec: RunSpec | ExternalSpec) -> float:
    """Return the image passes of an evaluation, including the passes of a surrogate.

    AutoRank takes fewer, since it skips queries that are already lost. An evaluation of all queries is counted with
    all test images.

    Raises:
        RbdmlError: an unknown data set or attack.
    """
    evaluation, images = spec.evaluation, DATASETS.get(spec.dataset).test_images
    queries, galleries = evaluation.queries or images, 1 if evaluation.surrogate is None else 2
    attacks = sum(_attack_passes(ATTACKS.get(name).build(), evaluation) for name in attacks_of(evaluation))
    return galleries * images * FORWARD + queries * attacks + _check_passes(evaluation, queries)


def _attack_passes(attack: Attack, evaluation: Evaluation) -> float:
    """The passes of one attack on one query."""
    solver = SOLVERS.get(evaluation.solver.name).cls(**evaluation.solver.params)
    threat, transfers = evaluation.threat, evaluation.surrogate is not None
    if isinstance(attack, RadiusAttack) and isinstance(solver, MinimalRadius):
        return attack.passes(solver, threat.eps, transfers=transfers)
    if isinstance(attack, Corrupted):
        return len(KINDS) * FORWARD
    searches = _searches(attack, solver, threat, transfers=transfers)
    return sum(search.passes(within) + FORWARD for search, within in searches)  # the result of each search is embedded


def _searches(attack: Attack, solver: Solver, threat: Threat, *, transfers: bool) -> Iterator[tuple[Solver, Threat]]:
    """The searches of one attack."""
    if isinstance(attack, WorstCase) and isinstance(solver, Ensemble):
        longer = threat.model_copy(update={"steps": solver.steps})
        for stage in attack.stages(solver):
            yield stage.solver, longer if stage.longer else threat
        return
    within = attack.within(threat)
    yield attack.own_solver or solver, within
    if isinstance(solver, Ensemble) and transfers:
        yield Transfer(), within


def _check_passes(evaluation: Evaluation, queries: int) -> float:
    """The passes of the checks (`evaluation.diagnostics`): gradients of a sample, and attacks on a part of it."""
    sample, transfers = min(queries, SAMPLE), evaluation.surrogate is not None
    return sample * PASSES + min(sample, ATTACKED) * check_passes(evaluation.threat, transfers=transfers)


@dataclass(frozen=True)
class Rate:
    """Passes per second."""

    training: float  # passes per second in training
    evaluation: float  # passes per second in evaluation, counted as in `evaluation_passes`
    iteration: float | None = None  # passes of one training iteration, if a record of the same training stores them


class Rates:
    """The rates of runs, from records on this device if there are any."""

    def __init__(self, out: Path, device: torch.device) -> None:
        self._device, name = device, device_name(device)
        self._costs: list[tuple[Spec, Cost]] = []  # costs of training on this device
        self._evaluations: list[tuple[Spec, float, float]] = []  # passes and seconds on this device
        self._plain: dict[tuple[object, ...], float] = {}
        self.notes: dict[str, None] = {}  # the origin of each rate in a line, in the order of their use
        for folder in record_folders(out):
            with suppress(RbdmlError):  # a damaged record has no rate
                self._add(folder, read_record(folder), name)

    def _add(self, folder: Path, record: Record, device: str) -> None:
        end, cost = record.training_end, record.cost
        if cost is not None and cost.spent.seconds > 0 and end is not None and end.device == device:
            self._costs.append((record.spec, cost))
        seconds = _evaluation_seconds(folder)
        if seconds and record.provenance.device == device:
            self._evaluations.append((record.spec, evaluation_passes(record.spec), seconds))

    def rate_of(self, spec: RunSpec) -> Rate:
        """Return the rate of the records on the same data set, backbone, precision and device, or of plain passes."""
        rate = self.recorded(spec)
        if rate is not None:
            return rate
        plain = self._plain_rate(spec)
        where = f"{spec.dataset}, {spec.backbone}"
        self.notes[f"Measured here, {where}: {plain:,.0f} plain passes/s; mining and attacks take more time"] = None
        return Rate(plain, plain)

    def recorded(self, spec: RunSpec) -> Rate | None:
        """Return the mean rate of such records, or None without any."""
        costs = [cost for other, cost in self._costs if _training_kind(other) == _training_kind(spec)]
        if not costs:
            return None
        rate = sum(cost.passes for cost in costs) / sum(cost.spent.seconds for cost in costs)
        evaluation = self.evaluation(spec) or rate
        count, where = f"{len(costs)} record{'' if len(costs) == 1 else 's'}", f"{spec.dataset}, {spec.backbone}"
        self.notes[f"From {count}, {where}: {rate:,.0f} passes/s in training, {evaluation:,.0f} in evaluation"] = None
        same = [cost for other, cost in self._costs if _training(other) == _training(spec)]
        iterations = sum(cost.spent.iterations for cost in same)
        return Rate(rate, evaluation, sum(cost.passes for cost in same) / iterations if same else None)

    def evaluation(self, spec: Spec) -> float | None:
        """Return the mean rate of recorded evaluations with the same protocol and precision, or None without any."""
        kind = _evaluation_kind(spec)
        known = [(passes, seconds) for other, passes, seconds in self._evaluations if _evaluation_kind(other) == kind]
        seconds = sum(seconds for _, seconds in known)
        return sum(passes for passes, _ in known) / seconds if known else None

    def _plain_rate(self, spec: RunSpec) -> float:
        kind = spec.backbone, spec.training.precision, spec.training.pairs
        if kind not in self._plain:
            self._plain[kind] = plain_rate(spec, self._device)
        return self._plain[kind]


def plain_rate(spec: RunSpec, device: torch.device) -> float:
    """Measure forward and backward passes of a run's network for some seconds, on batches of random images."""
    info = BACKBONES.get(spec.backbone)
    model = build_embedder(info, seed=0, device=device, precision=spec.training.precision).eval()
    side = info.side or max(SIDE, info.least_side)
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
