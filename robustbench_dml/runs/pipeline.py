"""The pipeline of every record: resolve, load, train, evaluate, write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from robustbench_dml.datasets.base import Dataset
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.evaluation.attack_cache import CACHE_FILE, AttackCache
from robustbench_dml.evaluation.attack_log import LoggedCache
from robustbench_dml.evaluation.evaluate import Evaluated, attacked_values, choose_queries, context_for, evaluate_model
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.folder import EVALUATED
from robustbench_dml.runs.forecast import evaluation_forecast
from robustbench_dml.runs.rates import Rates
from robustbench_dml.runs.record import (
    CHECKPOINT_FILE,
    QUERIES_FILE,
    Cost,
    Diagnostics,
    Provenance,
    Record,
    write_queries,
    write_record,
)
from robustbench_dml.spec.schema import ExternalSpec, RunSpec, TrainingEnd
from robustbench_dml.spec.source import attack_source
from robustbench_dml.utils import distributed, provenance
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import sha256
from robustbench_dml.utils.precision import check_precision
from robustbench_dml.utils.runlog import RunLog


@dataclass(frozen=True)
class Outcome:
    """The record of a run."""

    record: Record
    folder: Path  # of the record
    fresh: bool  # whether this call made the record
    # Whether an earlier record was returned although the source of its defense has changed since.
    outdated: bool = False


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model, ready to evaluate."""

    model: nn.Module  # the model as deployed, in eval mode
    weights: str  # the hash of its weights
    save: Callable[[Path], None]  # writes the weights to a file
    cost: Cost | None = None  # the cost of its training, if known
    training_end: TrainingEnd | None = None  # the end of its training, if known


class ModelSource(ABC):
    """A way to obtain the model of a record: training, a checkpoint, or an external file."""

    spec: RunSpec | ExternalSpec
    code: str  # SHA-256 of the Python files behind the model
    weights: str | None = None  # the hash of the weights, or None before a training
    # Ends of the work folder's name, for a first record and for a repetition.
    purposes: ClassVar[tuple[str, str]] = (EVALUATED, EVALUATED)
    keeps_log: ClassVar[bool] = False  # whether the log of a replaced record is continued

    def fetch(self, context: RunContext) -> None:  # noqa: B027 - most models need no file
        """Get the initial weights; called before the data set is decoded, which may take long.

        Raises:
            RbdmlError: the weights are unavailable.
        """

    def prepare(self, dataset: Dataset, context: RunContext) -> None:  # noqa: B027 - only outside models are tried
        """Try the model on images of the data set; called before the lock is taken.

        Raises:
            RbdmlError: the model is unavailable, or does not accept these images.
        """

    def forecast(self, context: RunContext) -> str:
        """Return the passes of the run in a line, and their time if earlier records have a rate."""
        return evaluation_forecast(self.spec, self._rates(context).evaluation(self.spec))

    def _rates(self, context: RunContext) -> Rates:
        return Rates(context.out / self.spec.dataset_folder, context.device)

    @abstractmethod
    def obtain(self, dataset: Dataset, context: RunContext, work: Path) -> Subject:
        """Train or return the model, after `fetch` and `prepare`; states and the log are in `work`."""


class Pipeline:
    """One run. Data, surrogate and provenance are loaded once, when they are first needed."""

    def __init__(self, source: ModelSource, context: RunContext) -> None:
        self._source, self._context = source, context
        self._folder = context.folder(source.spec)

    def run(self, *, force: bool = False) -> Outcome:
        """Make the record, or return the stored record.

        Args:
            force: make the record again. The old record stays until the new record is complete.

        Raises:
            RbdmlError: bad input, no room to write, or a training that diverged. No partial record remains.
        """
        if not force and (recorded := self._recorded()):
            return recorded
        self._load()
        with self._folder.working(self._source.purposes[force]) as work:
            if not force and (recorded := self._recorded()):  # another process made the record in the meantime
                return recorded
            distributed.broadcast(work)
            if self._source.keeps_log:
                self._folder.copy_log(work)
            spec = self._source.spec
            identity = {"digest": spec.digest, "label": spec.label, "dataset": spec.dataset}
            RunLog(work).write("start", **identity, **self._environment)
            if not self._context.progress.quiet:
                self._context.progress.say(self._source.forecast(self._context))
            subject = self._source.obtain(self._dataset, self._context, work)
            return self._write(subject, self._evaluate(subject, work), work)

    def assist(self, work: Path) -> None:
        """Do a share of a run that another process leads from its work folder."""
        self._load()
        subject = self._source.obtain(self._dataset, self._context, work)
        evaluation, context = self._source.spec.evaluation, self._context
        attacked_values(
            context_for(subject.model, self._dataset, evaluation, device=context.device, surrogate=self._surrogate),
            choose_queries(self._dataset.test.labels, evaluation, self._dataset.name),
            batch_size=context.batch_size,
            cache=self._attack_cache(subject, work),
        )

    def _recorded(self) -> Outcome | None:
        """Return the record, if there is one. The record must be of this model and of these images."""
        record = self._folder.read()
        if record is None:
            return None
        self._folder.forget()
        made, spec, path = record.provenance, self._source.spec, self._folder.path
        if self._source.weights not in (None, made.weights):
            raise RbdmlError(
                f"{path} holds the record of other weights of the same run: evaluate into another --out, or replace it "
                "with --force"
            )
        # A user's folder may change between two runs. The images of published sets are counted when they are loaded;
        # a model from outside needs them here anyway, so its record is always compared.
        compared = spec.dataset.startswith("folder:") or not spec.trained_here
        if compared and dict(self._dataset.hashes) != made.dataset_files:
            changed = spec.dataset.partition(":")[2] or spec.dataset
            raise RbdmlError(
                f"{path} holds the record of other images: {changed} has changed since; use another --out, or replace "
                "the record with --force"
            )
        return Outcome(record, path, fresh=False, outdated=self._source.code != made.defense_source)

    @cached_property
    def _dataset(self) -> Dataset:
        return load_dataset(self._source.spec.dataset, self._context.paths)

    @cached_property
    def _surrogate(self) -> nn.Module | None:
        return self._context.surrogate_model(self._source.spec.evaluation, self._dataset)

    @cached_property
    def _environment(self) -> dict[str, Any]:
        """Return the part of the provenance with which the log begins."""
        commit, dirty = provenance.source_commit()
        return {
            "versions": provenance.versions(),
            "device": provenance.device_name(self._context.device),
            "threads": torch.get_num_threads(),
            "commit": commit,
            "dirty": dirty,
        }

    def _load(self) -> None:
        """Load everything first: a missing input must be noticed before the training."""
        check_precision(self._source.spec.evaluation.precision, self._context.device)
        self._source.fetch(self._context)
        self._source.prepare(self._dataset, self._context)
        choose_queries(self._dataset.test.labels, self._source.spec.evaluation, self._dataset.name)
        _ = self._surrogate

    def _evaluate(self, subject: Subject, work: Path) -> Evaluated:
        return evaluate_model(
            subject.model,
            self._dataset,
            self._source.spec.evaluation,
            device=self._context.device,
            batch_size=self._context.batch_size,
            surrogate=self._surrogate,
            progress=self._context.progress,
            cache=self._attack_cache(subject, work),
        )

    def _attack_cache(self, subject: Subject, work: Path) -> AttackCache:
        """Return the stored values of attacks, for repetitions of exactly this evaluation."""
        evaluation, context = self._source.spec.evaluation, self._context
        decisive = (
            evaluation.model_dump_json(),
            subject.weights,
            self._source.code,
            attack_source(evaluation),
            *(f"{name} {digest}" for name, digest in sorted(self._dataset.hashes.items())),
            *(f"{name} {version}" for name, version in self._environment["versions"].items()),
            context.device.type,
            str(context.batch_size),
        )
        path, key, every = work / CACHE_FILE, "\n".join(decisive), context.checkpoint_every
        if not distributed.is_leader():  # the leading process alone writes the log
            return AttackCache(path, of=key, every=every)
        return LoggedCache(RunLog(work), path, of=key, every=every)

    def _write(self, subject: Subject, evaluated: Evaluated, work: Path) -> Outcome:
        """Write everything into the work folder, the record last, and publish the folder."""
        spec, findings = self._source.spec, evaluated.findings
        subject.save(work / CHECKPOINT_FILE)
        write_queries(work, evaluated.per_query)
        record = Record(
            digest=spec.digest,
            spec=spec,
            cost=subject.cost,
            benign=evaluated.benign,
            attacked=evaluated.attacked,
            scores=evaluated.scores,
            intervals=evaluated.intervals,
            diagnostics=Diagnostics(
                flags=findings.flags, disqualifying=findings.disqualifying, measured=findings.measured
            ),
            training_end=subject.training_end,
            provenance=Provenance(
                created=provenance.now(),
                cpu=provenance.cpu_name(),
                evaluation_batch_size=self._context.batch_size,
                defense_source=self._source.code,
                dataset_files=dict(self._dataset.hashes),
                weights=subject.weights,
                queries=sha256(work / QUERIES_FILE),
                **self._environment,
            ),
        )
        write_record(work, record)
        RunLog(work).write(
            "record", digest=spec.digest, scores=record.scores, benign=record.benign, flags=findings.flags
        )
        self._folder.publish(work)
        return Outcome(record, self._folder.path, fresh=True)
