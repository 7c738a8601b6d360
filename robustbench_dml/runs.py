"""One run from spec to record: train, evaluate, write."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustbench_dml import provenance
from robustbench_dml.checkpoints import Checkpoint, load_checkpoint, save_checkpoint, weights_hash
from robustbench_dml.datasets.base import Dataset, Order, Roots
from robustbench_dml.datasets.status import get
from robustbench_dml.defense import build_defense
from robustbench_dml.errors import DivergedError, MissingDataError, RbdmlError
from robustbench_dml.evaluation import choose_queries, evaluate_model
from robustbench_dml.files import sha256
from robustbench_dml.pretrained import find_weights
from robustbench_dml.progress import Progress
from robustbench_dml.protocol import RunSpec
from robustbench_dml.records import (
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
from robustbench_dml.registry import BACKBONES, DATASETS, DEFENSES
from robustbench_dml.specs import with_evaluation
from robustbench_dml.training import Trainer

RESUME_FILE = "resume.safetensors"


@dataclass(frozen=True)
class Place:
    """Where and on what a run happens; nothing here changes its result beyond rounding.

    Attributes:
        out: records go to `out/<data set>/<digest of the spec>/`.
        roots: where data is looked for.
        device: what computes.
        batch_size: images attacked at once in the evaluation.
        progress: bars.
        weights: the file of weights that training starts from, where it is not a published one.
        surrogate: the checkpoint that attacks transfer from, where the evaluation names one.
    """

    out: Path
    roots: Roots
    device: torch.device
    batch_size: int = 128
    progress: Progress = field(default_factory=lambda: Progress(quiet=True))
    weights: Path | None = None
    surrogate: Path | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise RbdmlError(f"batch size {self.batch_size} is not positive: attack at least one image at once")

    def folder(self, spec: RunSpec) -> Path:
        """Where the record of this spec is or will be."""
        return self.out / spec.place / spec.digest


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


def run(spec: RunSpec, place: Place, *, force: bool = False) -> Outcome:
    """Do a run, go on with an interrupted one, or find its record.

    Args:
        spec: what to run.
        place: where.
        force: repeat a run that has a record; the old record stays until the new one is complete.

    Raises:
        RbdmlError: bad data, no room to write, or a training that diverged; nothing half-written is left.
    """
    found = None if force else _find(spec, place)
    if found:
        _check_own_images(found, place)
        return found
    weights = first_weights(spec, place.weights, place.progress)
    dataset = load_dataset(spec.dataset, place.roots)
    choose_queries(dataset.test.labels, spec.evaluation, spec.dataset)  # refuse too many before training, not after
    with _workplace(spec, place, "again" if force else "part") as work:
        trainer = Trainer(spec, dataset, device=place.device, weights=weights)
        trainer.run(progress=place.progress, checkpoint=work / RESUME_FILE)
        trained = Checkpoint(trainer.model, spec, trainer.spent, trainer.end)
        return _finish(trained, dataset, place, work)


def reevaluate(
    checkpoint: Path,
    place: Place,
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
    found = None if force else _find(spec, place)
    if found and found.record.provenance.weights == weights_hash(loaded.embedder):
        return found
    if found:
        raise RbdmlError(
            f"{found.folder} holds the record of other weights of the same run: evaluate into another --out, or "
            "replace it with --force"
        )
    data = load_dataset(spec.dataset, place.roots)
    choose_queries(data.test.labels, spec.evaluation, spec.dataset)
    with _workplace(spec, place, "evaluation") as work:
        return _finish(replace(loaded, spec=spec), data, place, work)


def _check_own_images(found: Outcome, place: Place) -> None:
    """A folder of the user can have changed since its record was made; published sets are checked by their counts."""
    name, before = found.record.spec.dataset, found.record.provenance.dataset_files
    if name.startswith("folder:") and load_dataset(name, place.roots).hashes != before:
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


def load_dataset(name: str, roots: Roots) -> Dataset:
    """The data set of that name; what a user should know about this copy is said."""
    info = DATASETS.get(name)
    try:
        dataset = info.load(roots)
    except MissingDataError:
        if not roots.download:
            raise
        get(info, roots, Order())
        dataset = info.load(roots)
    for note in dataset.notes:
        roots.progress.say(f"{name}: {note}")
    return dataset


def first_weights(spec: RunSpec, given: Path | None, progress: Progress) -> Path | None:
    """The file that training starts from, None for random weights.

    Raises:
        RbdmlError: it is neither given nor to be had.
    """
    if spec.pretrained is None:
        return None
    return find_weights(BACKBONES.get(spec.backbone), spec.pretrained, weights=given, progress=progress)


def _find(spec: RunSpec, place: Place) -> Outcome | None:
    folder = place.folder(spec)
    if not (folder / RECORD_FILE).is_file():
        return None
    record = read_record(folder)
    source = provenance.defense_source(DEFENSES.get(spec.defense))
    return Outcome(record, folder, fresh=False, outdated=source != record.provenance.defense_source)


@contextmanager
def _workplace(spec: RunSpec, place: Place, purpose: str) -> Iterator[Path]:
    """A hidden folder beside the final one, put in its place when the work is done.

    Whatever happens, a checkpoint to go on from is kept and nothing else that is unfinished; a training that
    diverged leaves nothing.
    """
    final = place.folder(spec)
    work = final.with_name(f".{final.name}.{purpose}")
    try:
        work.mkdir(parents=True, exist_ok=True)
        (work / ".writable").touch()
        (work / ".writable").unlink()
    except OSError as error:
        _clear(work)
        raise RbdmlError(f"cannot write to {place.out} ({error.strerror}): choose another folder with --out") from None
    try:
        yield work
    except DivergedError:
        (work / RESUME_FILE).unlink(missing_ok=True)
        raise
    except OSError as error:
        raise RbdmlError(
            f"could not write below {place.out} ({error.strerror}): free some space, then give the same command again"
        ) from None
    finally:
        _clear(work)


def _finish(trained: Checkpoint, dataset: Dataset, place: Place, work: Path) -> Outcome:
    """Evaluate, write everything into the work folder, the record last, and put the folder in its place."""
    spec, spent = trained.spec, trained.spent
    defense = build_defense(spec.defense, spec.params, spec.training.threat)
    found = evaluate_model(
        trained.model,
        dataset,
        spec.evaluation,
        device=place.device,
        batch_size=place.batch_size,
        surrogate=_surrogate(spec, place),
        progress=place.progress,
    )
    save_checkpoint(work / CHECKPOINT_FILE, trained)
    write_queries(work, found.per_query)
    entry = DEFENSES.get(spec.defense)
    commit, dirty = provenance.source_commit()
    record = Record(
        digest=spec.digest,
        spec=spec,
        cost=Cost(
            spent=spent,
            passes=spent.passes,
            nominal_per_iteration=defense.nominal_cost,
            metered_per_iteration=spent.passes / (2 * spec.training.pairs * spent.iterations),
            peak_memory_bytes=provenance.peak_memory(place.device),
        ),
        benign=found.benign,
        attacked=found.attacked,
        scores=found.scores,
        intervals=found.intervals,
        diagnostics=Diagnostics(
            flags=[*(["collapsed"] if found.collapsed else []), *found.checks.flags],
            effective_rank=found.effective_rank,
            mean_cosine=found.mean_cosine,
            without_gradient=found.checks.without_gradient,
            repeat_difference=found.checks.repeat_difference,
        ),
        training_end=trained.end,
        provenance=Provenance(
            created=provenance.now(),
            versions=provenance.versions(),
            device=provenance.device_name(place.device),
            cpu=provenance.cpu_name(),
            threads=torch.get_num_threads(),
            evaluation_batch_size=place.batch_size,
            commit=commit,
            dirty=dirty,
            defense_source=provenance.defense_source(entry),
            dataset_files=dict(dataset.hashes),
            weights=weights_hash(trained.embedder),
            queries=sha256(work / QUERIES_FILE),
        ),
    )
    write_record(work, record)
    (work / RESUME_FILE).unlink(missing_ok=True)
    folder = place.folder(spec)
    _put_in_place(work, folder)
    return Outcome(record, folder, fresh=True)


def _surrogate(spec: RunSpec, place: Place) -> nn.Module | None:
    """The model that attacks transfer from.

    Raises:
        RbdmlError: it is not the one that the evaluation names.
    """
    wanted = spec.evaluation.surrogate
    if wanted is None:
        return None
    if place.surrogate is None:
        raise RbdmlError(f"this evaluation transfers from the surrogate {wanted}: give its checkpoint with --surrogate")
    loaded = load_checkpoint(place.surrogate, device=place.device)
    if weights_hash(loaded.embedder)[:16] != wanted:
        raise RbdmlError(f"{place.surrogate} is not the surrogate {wanted} of this evaluation: give that one")
    return loaded.model


def _clear(work: Path) -> None:
    """Remove an unfinished work folder but for the checkpoint in it."""
    with contextlib.suppress(OSError):  # what cannot be emptied stays
        for path in work.iterdir():
            if path.name != RESUME_FILE:
                path.unlink()
        work.rmdir()
        work.parent.rmdir()


def _put_in_place(work: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    work.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
