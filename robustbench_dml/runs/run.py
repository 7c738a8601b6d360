"""One run from spec to record: train, evaluate, write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from robustbench_dml.datasets.base import Dataset
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.models.checkpoints import Checkpoint, load_checkpoint, save_checkpoint, weights_hash
from robustbench_dml.models.pretrained import first_weights
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.evaluate import (
    Outcome,
    Subject,
    begin_log,
    check_evaluation,
    find_outcome,
    finish,
    share_attacks,
)
from robustbench_dml.runs.folder import PART, keep_log, workplace
from robustbench_dml.runs.record import Cost
from robustbench_dml.spec.make import with_evaluation
from robustbench_dml.spec.parameters import build_defense
from robustbench_dml.spec.registry import DATASETS, DEFENSES
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.spec.source import defense_source
from robustbench_dml.training.log import TrainingLog
from robustbench_dml.training.resume import RESUME_FILE
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils import distributed
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.provenance import peak_memory
from robustbench_dml.utils.runlog import LoggedProgress


def run(spec: RunSpec, place: RunContext, *, force: bool = False) -> Outcome:
    """Do a run, go on with an interrupted one, or find its record.

    Args:
        spec: what to run.
        place: where.
        force: repeat a run that has a record; the old record stays until the new one is complete.

    Raises:
        RbdmlError: bad data, no room to write, or a training that diverged; nothing half-written is left.
    """
    found = None if force else find_outcome(spec, place)
    if found:
        _check_own_images(found, place)
        return found
    weights = first_weights(spec, place.weights, place.progress)
    dataset = load_dataset(spec.dataset, place.paths)
    check_evaluation(spec, dataset, place)
    with workplace(spec, place, "again" if force else PART) as work:
        found = None if force else find_outcome(spec, place)
        if found:  # by another process, since this one looked
            return found
        distributed.broadcast(work)
        return finish(_trained(spec, dataset, weights, place, work), dataset, place, work)


def assist(spec: RunSpec, place: RunContext, work: Path) -> None:
    """Take a share of a run that another process leads from the work folder on; arguments as in `run`."""
    weights = first_weights(spec, place.weights, place.progress)
    dataset = load_dataset(spec.dataset, place.paths)
    share_attacks(_trained(spec, dataset, weights, place, work), dataset, place, work)


def reevaluate(
    checkpoint: Path,
    place: RunContext,
    *,
    backbone: str | None = None,
    dataset: str | None = None,
    changes: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Outcome:
    """Evaluate a checkpoint, by default as it was; the record keeps what its training cost.

    Args:
        checkpoint: weights written by `run`.
        place: where.
        backbone: that the checkpoint must have.
        dataset: `folder:PATH`, where the folder that it was trained on is now.
        changes: of the evaluation, as in `make_spec`.
        force: repeat an evaluation that has a record.

    Raises:
        RbdmlError: a checkpoint that is unreadable or of another backbone, or bad values.
    """
    loaded = load_checkpoint(checkpoint, device=place.device, backbone=backbone)
    spec = with_evaluation(_moved(loaded.spec, dataset), changes or {})
    found = None if force else find_outcome(spec, place)
    if found and found.record.provenance.weights == weights_hash(loaded.embedder):
        return found
    if found:
        raise RbdmlError(
            f"{found.folder} holds the record of other weights of the same run: evaluate into another --out, or "
            "replace it with --force"
        )
    data = load_dataset(spec.dataset, place.paths)
    check_evaluation(spec, data, place)
    with workplace(spec, place, "evaluation") as work:
        keep_log(place.folder(spec), work)
        begin_log(spec, place, work)
        return finish(_subject(replace(loaded, spec=spec), place), data, place, work)


def _check_own_images(found: Outcome, place: RunContext) -> None:
    """A folder of the user can have changed since its record was made; published sets are checked by their counts."""
    name, before = found.record.spec.dataset, found.record.provenance.dataset_files
    if name.startswith("folder:") and load_dataset(name, place.paths).hashes != before:
        raise RbdmlError(
            f"{found.folder} holds the record of other images: {name.partition(':')[2]} has changed since; run into "
            "another --out, or replace the record with --force"
        )


def _moved(spec: RunSpec, dataset: str | None) -> RunSpec:
    if dataset is None or dataset == spec.dataset:
        return spec
    if not (dataset.startswith("folder:") and spec.dataset.startswith("folder:")):
        raise RbdmlError(
            f"the checkpoint was trained on '{spec.dataset}' and a record names one set: leave --dataset out "
            "(robustbench_dml.evaluate takes any model on any set)"
        )
    return spec.model_copy(update={"dataset": DATASETS.get(dataset).name})


def _trained(spec: RunSpec, dataset: Dataset, weights: Path | None, place: RunContext, work: Path) -> Subject:
    trainer, progress = Trainer(spec, dataset, device=place.device, weights=weights), place.progress
    if distributed.is_leader():  # one process keeps the log
        log = begin_log(spec, place, work)
        trainer.observer = TrainingLog(log, scalars=place.tensorboard)
        progress = LoggedProgress(progress.quiet, log=log)
    trainer.run(progress=progress, checkpoint=work / RESUME_FILE, checkpoint_every=place.checkpoint_every)
    return _subject(Checkpoint(trainer.model, spec, trainer.spent, trainer.end), place)


def _subject(trained: Checkpoint, place: RunContext) -> Subject:
    """A model that was trained here, with what that cost."""
    spec, spent = trained.spec, trained.spent
    defense = build_defense(spec.defense, spec.params, spec.training.threat)
    return Subject(
        spec=spec,
        model=trained.model,
        source=defense_source(DEFENSES.get(spec.defense)),
        weights=weights_hash(trained.embedder),
        save=partial(save_checkpoint, checkpoint=trained),
        cost=Cost(
            spent=spent,
            passes=spent.passes,
            nominal_per_iteration=defense.nominal_cost,
            metered_per_iteration=spent.passes / (2 * spec.training.pairs * spent.iterations),
            peak_memory_bytes=peak_memory(place.device),
        ),
        training_end=trained.end,
    )
