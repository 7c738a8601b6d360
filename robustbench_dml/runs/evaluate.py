"""Evaluation of a trained model into a record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from robustbench_dml.datasets.base import Dataset
from robustbench_dml.evaluation.attack_cache import CACHE_FILE, AttackCache
from robustbench_dml.evaluation.attack_log import LoggedCache
from robustbench_dml.evaluation.evaluate import attacked_values, choose_queries, context_for, evaluate_model
from robustbench_dml.models.checkpoints import load_checkpoint, weights_hash
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.folder import _forget, _put_in_place
from robustbench_dml.runs.record import (
    CHECKPOINT_FILE,
    QUERIES_FILE,
    RECORD_FILE,
    Cost,
    Diagnostics,
    Provenance,
    Record,
    read_record,
    write_queries,
    write_record,
)
from robustbench_dml.spec.registry import BACKBONES, DEFENSES
from robustbench_dml.spec.schema import Evaluation, ExternalSpec, RunSpec, TrainingEnd
from robustbench_dml.spec.source import attack_source, defense_source
from robustbench_dml.utils import distributed, provenance
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import sha256
from robustbench_dml.utils.runlog import RunLog


@dataclass(frozen=True)
class Outcome:
    """A record, where it is, and whether it was made now or found.

    Attributes:
        record: of the run.
        folder: where it is.
        fresh: made by this call.
        outdated: found, and the source of its defense has changed since.
    """

    record: Record
    folder: Path
    fresh: bool
    outdated: bool = False


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model to be evaluated and recorded.

    Attributes:
        spec: the digest of which names the record.
        model: as it is deployed, in eval mode.
        source: SHA-256 of the Python files behind it.
        weights: the hash of its weights.
        save: writes the weights to a file.
        cost: of its training, where that is known.
        training_end: likewise.
    """

    spec: RunSpec | ExternalSpec
    model: nn.Module
    source: str
    weights: str
    save: Callable[[Path], None]
    cost: Cost | None = None
    training_end: TrainingEnd | None = None


def find_outcome(spec: RunSpec | ExternalSpec, place: RunContext) -> Outcome | None:
    """The record of this spec, where there is one."""
    folder = place.folder(spec)
    if not (folder / RECORD_FILE).is_file():
        return None
    record = read_record(folder)
    _forget(folder)
    source = spec.source if isinstance(spec, ExternalSpec) else defense_source(DEFENSES.get(spec.defense))
    return Outcome(record, folder, fresh=False, outdated=source != record.provenance.defense_source)


def check_evaluation(spec: RunSpec | ExternalSpec, dataset: Dataset, place: RunContext) -> None:
    """Refuse what would fail in the evaluation before anything is trained.

    Raises:
        RbdmlError: too many queries, or not the surrogate of this evaluation.
    """
    choose_queries(dataset.test.labels, spec.evaluation, spec.dataset)
    load_surrogate(spec.evaluation, dataset, place)


def begin_log(spec: RunSpec | ExternalSpec, place: RunContext, work: Path) -> RunLog:
    """The log of a run, in its work folder, with what this process is about to do."""
    log = RunLog(work)
    commit, dirty = provenance.source_commit()
    log.write(
        "start",
        digest=spec.digest,
        label=spec.label,
        dataset=spec.dataset,
        versions=provenance.versions(),
        device=provenance.device_name(place.device),
        threads=torch.get_num_threads(),
        commit=commit,
        dirty=dirty,
    )
    return log


def finish(subject: Subject, dataset: Dataset, place: RunContext, work: Path) -> Outcome:
    """Evaluate, write everything into the work folder, the record last, and put the folder in its place."""
    spec = subject.spec
    found = evaluate_model(
        subject.model,
        dataset,
        spec.evaluation,
        device=place.device,
        batch_size=place.batch_size,
        surrogate=load_surrogate(spec.evaluation, dataset, place),
        progress=place.progress,
        cache=_cache(subject, dataset, place, work),
    )
    subject.save(work / CHECKPOINT_FILE)
    write_queries(work, found.per_query)
    commit, dirty = provenance.source_commit()
    record = Record(
        digest=spec.digest,
        spec=spec,
        cost=subject.cost,
        benign=found.benign,
        attacked=found.attacked,
        scores=found.scores,
        intervals=found.intervals,
        diagnostics=Diagnostics(
            flags=found.findings.flags,
            disqualifying=found.findings.disqualifying,
            measured=found.findings.measured,
        ),
        training_end=subject.training_end,
        provenance=Provenance(
            created=provenance.now(),
            versions=provenance.versions(),
            device=provenance.device_name(place.device),
            cpu=provenance.cpu_name(),
            threads=torch.get_num_threads(),
            evaluation_batch_size=place.batch_size,
            commit=commit,
            dirty=dirty,
            defense_source=subject.source,
            dataset_files=dict(dataset.hashes),
            weights=subject.weights,
            queries=sha256(work / QUERIES_FILE),
        ),
    )
    write_record(work, record)
    RunLog(work).write(
        "record", digest=spec.digest, scores=record.scores, benign=record.benign, flags=found.findings.flags
    )
    folder = place.folder(spec)
    _put_in_place(work, folder)
    return Outcome(record, folder, fresh=True)


def share_attacks(subject: Subject, dataset: Dataset, place: RunContext, work: Path) -> None:
    """The attacks of this process, for the one that is in `finish` with the same subject."""
    evaluation = subject.spec.evaluation
    surrogate = load_surrogate(evaluation, dataset, place)
    attacked_values(
        context_for(subject.model, dataset, evaluation, device=place.device, surrogate=surrogate),
        choose_queries(dataset.test.labels, evaluation, dataset.name),
        batch_size=place.batch_size,
        cache=_cache(subject, dataset, place, work),
    )


def load_surrogate(evaluation: Evaluation, dataset: Dataset, place: RunContext) -> nn.Module | None:
    """The model that attacks transfer from, None where none is needed.

    Raises:
        RbdmlError: it is not the one that the evaluation names, or takes other images.
    """
    wanted = evaluation.surrogate
    if wanted is None:
        return None
    if place.surrogate is None:
        raise RbdmlError(f"this evaluation transfers from the surrogate {wanted}: give its checkpoint with --surrogate")
    loaded = load_checkpoint(place.surrogate, device=place.device)
    if weights_hash(loaded.embedder)[:16] != wanted:
        raise RbdmlError(f"{place.surrogate} is not the surrogate {wanted} of this evaluation: give that one")
    network = BACKBONES.get(loaded.spec.backbone)
    if not network.takes(dataset.image_shape):
        raise RbdmlError(
            f"the surrogate {place.surrogate} takes {network.input} images and '{dataset.name}' has "
            f"{'x'.join(map(str, dataset.image_shape))}: give one that was trained on such images"
        )
    return loaded.model


def _cache(subject: Subject, dataset: Dataset, place: RunContext, work: Path) -> AttackCache:
    """Where the evaluation keeps what it has found, for whoever does the very same one again."""
    decides = (
        subject.spec.evaluation.model_dump_json(),
        subject.weights,
        subject.source,
        attack_source(subject.spec.evaluation),
        *(f"{name} {found}" for name, found in sorted(dataset.hashes.items())),
        *(f"{name} {found}" for name, found in provenance.versions().items()),
        place.device.type,
        str(place.batch_size),
    )
    path, of, every = work / CACHE_FILE, "\n".join(decides), place.checkpoint_every
    if not distributed.is_leader():  # one process keeps the log
        return AttackCache(path, of=of, every=every)
    return LoggedCache(RunLog(work), path, of=of, every=every)
