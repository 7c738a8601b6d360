"""Records of runs: by training, or by another evaluation of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from robustbench_dml.datasets.base import Dataset
from robustbench_dml.models.checkpoints import Checkpoint, load_checkpoint, save_checkpoint, weights_hash
from robustbench_dml.models.embedder import Embedder
from robustbench_dml.models.pretrained import first_weights
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.folder import FIRST, REPEATED
from robustbench_dml.runs.forecast import Forecasts, training_forecast
from robustbench_dml.runs.on_device import evaluation_on
from robustbench_dml.runs.pipeline import ModelSource, Outcome, Pipeline, Subject
from robustbench_dml.runs.record import CHECKPOINT_FILE, Cost, read_record, record_folders
from robustbench_dml.spec.parameters import build_defense
from robustbench_dml.spec.registry import DATASETS, DEFENSES
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.spec.source import defense_source
from robustbench_dml.spec.weights import read_checkpoint
from robustbench_dml.training.log import TrainingLog
from robustbench_dml.training.resume import RESUME_FILE
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils import distributed
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.provenance import peak_memory
from robustbench_dml.utils.runlog import LoggedProgress, RunLog


def run(spec: RunSpec, context: RunContext, *, force: bool = False) -> Outcome:
    """Do a run, resume an interrupted run, or return the record of a finished run.

    If a record of the same training under another evaluation lies beside it, its checkpoint is evaluated.

    Args:
        spec: the run.
        context: the surroundings of the run.
        force: repeat a run that has a record. The old record stays until the new one is complete.

    Raises:
        RbdmlError: bad data, no room to write, or a training that diverged. No partial record remains.
    """
    return Pipeline(TrainedHere(spec) if force else _source(spec, context), context).run(force=force)


def assist(spec: RunSpec, context: RunContext, work: Path, *, checkpoint: Path | None = None) -> None:
    """Do a share of a run that another process leads from its work folder.

    Args:
        spec: as in `run`.
        context: as in `run`.
        work: the work folder.
        checkpoint: the weights, if the run evaluates those.
    """
    source = _source(spec, context) if checkpoint is None else _stored(spec, checkpoint, context)
    Pipeline(source, context).assist(work)


def evaluate_as(spec: RunSpec, checkpoint: Path, context: RunContext, *, force: bool = False) -> Outcome:
    """Evaluate a checkpoint under a spec that differs from its own by the evaluation; arguments as in `reevaluate`."""
    return Pipeline(_stored(spec, checkpoint, context), context).run(force=force)


def reevaluate(
    checkpoint: Path,
    context: RunContext,
    *,
    dataset: str | None = None,
    changes: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Outcome:
    """Evaluate a checkpoint, by default under the evaluation in its spec. The record keeps the cost of training.

    Args:
        checkpoint: weights written by `run`.
        context: the surroundings of the evaluation.
        dataset: `folder:PATH`, the current path of the folder of training images.
        changes: changes of the evaluation, as in `make_spec`.
        force: repeat an evaluation that has a record.

    Raises:
        RbdmlError: an unreadable checkpoint, or bad values.
    """
    spec = evaluated_spec(checkpoint, context, dataset=dataset, changes=changes or {})
    return evaluate_as(spec, checkpoint, context, force=force)


def evaluated_spec(
    checkpoint: Path, context: RunContext, *, dataset: str | None, changes: Mapping[str, Any]
) -> RunSpec:
    """Return the spec of a checkpoint under another evaluation; arguments as in `reevaluate`."""
    spec = _moved(read_checkpoint(checkpoint).spec, dataset)
    evaluation = evaluation_on(context.device, spec.evaluation, changes, dataset=spec.dataset)
    return spec.model_copy(update={"evaluation": evaluation})


def _stored(spec: RunSpec, checkpoint: Path, context: RunContext) -> FromCheckpoint:
    return FromCheckpoint(replace(load_checkpoint(checkpoint, device=context.device), spec=spec))


class TrainedHere(ModelSource):
    """Train the model of a record."""

    purposes: ClassVar[tuple[str, str]] = (FIRST, REPEATED)

    def __init__(self, spec: RunSpec) -> None:
        self.spec: RunSpec = spec
        self.code = defense_source(DEFENSES.get(spec.defense))
        self._start: Path | None = None
        self._timed = True  # the time of the training is known, or nobody asks

    def forecast(self, context: RunContext) -> str:
        """See `ModelSource`."""
        rate = self._rates(context).recorded(self.spec)
        self._timed = rate is not None
        return training_forecast(self.spec, rate)

    def fetch(self, context: RunContext) -> None:
        """See `ModelSource`."""
        self._start = first_weights(self.spec, context.weights, context.progress)

    def obtain(self, dataset: Dataset, context: RunContext, work: Path) -> Subject:
        """See `ModelSource`."""
        trainer, progress = Trainer(self.spec, dataset, device=context.device, weights=self._start), context.progress
        trainer.micro_batch = context.micro_batch
        if distributed.is_leader():  # the leading process alone writes the log
            log = RunLog(work)
            trainer.observer = self._observer(log, context)
            progress = LoggedProgress(progress.quiet, log=log)
        trainer.run(progress=progress, checkpoint=work / RESUME_FILE, checkpoint_every=context.checkpoint_every)
        trained = trainer.trained
        return _subject(trained, weights_hash(trained.embedder), context)

    def _observer(self, log: RunLog, context: RunContext) -> TrainingLog:
        if self._timed:
            return TrainingLog(log, scalars=context.tensorboard)
        return Forecasts(log, scalars=context.tensorboard, say=context.progress.say)


class FromCheckpoint(ModelSource):
    """Take the model of a record from a checkpoint."""

    keeps_log: ClassVar[bool] = True

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.spec = checkpoint.spec
        self.code = defense_source(DEFENSES.get(checkpoint.spec.defense))
        self.weights: str = weights_hash(checkpoint.embedder)
        self._checkpoint = checkpoint

    def obtain(self, dataset: Dataset, context: RunContext, work: Path) -> Subject:
        """See `ModelSource`."""
        return _subject(self._checkpoint, self.weights, context)


def _source(spec: RunSpec, context: RunContext) -> ModelSource:
    """Return the model of an equal training that is recorded, or else the training."""
    source, folder = TrainedHere(spec), context.folder(spec)
    if folder.record_file.is_file() or spec.dataset.startswith("folder:"):  # the images of a folder may have changed
        return source
    for path in record_folders(folder.path.parent):
        with suppress(RbdmlError):  # the run does not depend on a damaged record or checkpoint
            record = read_record(path)
            equal = isinstance(record.spec, RunSpec) and record.spec.recipe == spec.recipe
            if equal and record.provenance.defense_source == source.code:
                checkpoint = load_checkpoint(path / CHECKPOINT_FILE, device=context.device)
                return FromCheckpoint(replace(checkpoint, spec=spec))
    return source


def _moved(spec: RunSpec, dataset: str | None) -> RunSpec:
    if dataset is None or dataset == spec.dataset:
        return spec
    if not (dataset.startswith("folder:") and spec.dataset.startswith("folder:")):
        raise RbdmlError(
            f"the checkpoint was trained on '{spec.dataset}' and a record names one set: leave --dataset out "
            "(robustbench_dml.evaluate takes any model on any set)"
        )
    return spec.model_copy(update={"dataset": DATASETS.get(dataset).name})


def _subject(trained: Checkpoint, weights: str, context: RunContext) -> Subject:
    """Return a model trained by this project, with the cost of its training."""
    spec, spent = trained.spec, trained.spent
    for module in trained.model.modules():
        if isinstance(module, Embedder):
            module.laid_out(spec.evaluation.precision)
    defense = build_defense(spec.defense, spec.params, spec.training.threat)
    return Subject(
        model=trained.model,
        weights=weights,
        save=partial(save_checkpoint, checkpoint=trained),
        cost=Cost(
            spent=spent,
            passes=spent.passes,
            nominal_per_iteration=defense.nominal_cost,
            metered_per_iteration=spent.passes / (2 * spec.training.pairs * max(1, spent.iterations)),
            peak_memory_bytes=peak_memory(context.device),
        ),
        training_end=trained.end,
    )
