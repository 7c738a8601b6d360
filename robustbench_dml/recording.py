"""Evaluating a model and writing its record: wholly or not at all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from robustbench_dml import provenance
from robustbench_dml.checkpoints import load_checkpoint, weights_hash
from robustbench_dml.datasets.base import Dataset, Roots
from robustbench_dml.devices import team
from robustbench_dml.errors import DivergedError, RbdmlError
from robustbench_dml.evaluation import attacked_values, choose_queries, enter, evaluate_model
from robustbench_dml.files import is_full, is_of_writing, sha256, sync_folder
from robustbench_dml.interrupts import deferred_interrupts
from robustbench_dml.observing.attacks import LoggedParts
from robustbench_dml.observing.runlog import RunLog, log_files
from robustbench_dml.observing.scalars import needed
from robustbench_dml.parts import PARTS_FILE, Parts, parts_files
from robustbench_dml.progress import Progress
from robustbench_dml.protocol import Evaluation, ForeignSpec, RunSpec
from robustbench_dml.records import (
    CHECKPOINT_FILE,
    QUERIES_FILE,
    RECORD_FILE,
    Cost,
    Diagnostics,
    Provenance,
    Record,
    TrainingEnd,
    read_record,
    write_queries,
    write_record,
)
from robustbench_dml.registry import BACKBONES, DEFENSES
from robustbench_dml.resume import RESUME_FILE, resume_files
from robustbench_dml.workers import sole

LOCKS = ".locks"  # below the folder of records
PART = "part"  # the end of the name of a first run's work folder
REFUSAL = "another process is doing this run"


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
        checkpoint_every: seconds between the states of a training that are kept.
        tensorboard: write scalars of a training for TensorBoard.
    """

    out: Path
    roots: Roots
    device: torch.device
    batch_size: int = 128
    progress: Progress = field(default_factory=lambda: Progress(quiet=True))
    weights: Path | None = None
    surrogate: Path | None = None
    checkpoint_every: float = 300
    tensorboard: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise RbdmlError(f"batch size {self.batch_size} is not positive: attack at least one image at once")
        if self.tensorboard:
            needed()

    def folder(self, spec: RunSpec | ForeignSpec) -> Path:
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

    spec: RunSpec | ForeignSpec
    model: nn.Module
    source: str
    weights: str
    save: Callable[[Path], None]
    cost: Cost | None = None
    training_end: TrainingEnd | None = None


def find_outcome(spec: RunSpec | ForeignSpec, place: Place) -> Outcome | None:
    """The record of this spec, where there is one."""
    folder = place.folder(spec)
    if not (folder / RECORD_FILE).is_file():
        return None
    record = read_record(folder)
    _forget(folder)
    source = spec.source if isinstance(spec, ForeignSpec) else provenance.defense_source(DEFENSES.get(spec.defense))
    return Outcome(record, folder, fresh=False, outdated=source != record.provenance.defense_source)


def check_evaluation(spec: RunSpec | ForeignSpec, dataset: Dataset, place: Place) -> None:
    """Refuse what would fail in the evaluation before anything is trained.

    Raises:
        RbdmlError: too many queries, or not the surrogate of this evaluation.
    """
    choose_queries(dataset.test.labels, spec.evaluation, spec.dataset)
    load_surrogate(spec.evaluation, dataset, place)


def lock_of(folder: Path) -> Path:
    """What the process holds that makes the record in this folder, `out/<data set>/<digest>`."""
    return folder.parents[1] / LOCKS / f"{folder.parent.name}-{folder.name}.lock"


def part_of(folder: Path) -> Path:
    """Where what a first run goes on from is kept, until the record is in this folder."""
    return folder.with_name(f".{folder.name}.{PART}")


@contextmanager
def workplace(spec: RunSpec | ForeignSpec, place: Place, purpose: str) -> Iterator[Path]:
    """A hidden folder beside the final one, put in its place when the work is done.

    Whatever happens, a checkpoint to go on from and the log are kept and nothing else that is unfinished; a training
    that diverged leaves its log alone.
    """
    final = place.folder(spec)
    work = final.with_name(f".{final.name}.{purpose}")
    with _locked(lock_of(final), f"{REFUSAL} ({final}): wait for it, or stop it", place):
        _prepare(work, place)
        try:
            _put_back(final)
            with RunLog(work).ending():
                yield work
        except DivergedError:
            _forget(work)
            raise
        except OSError as error:
            if not is_of_writing(error, place.out):  # a defense or an attack may open files of its own
                raise
            raise RbdmlError(
                f"could not write below {place.out} ({error.strerror}): free some space, then give the same command "
                "again"
            ) from None
        finally:
            _clear(work)


def begin_log(spec: RunSpec | ForeignSpec, place: Place, work: Path) -> RunLog:
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


def finish(subject: Subject, dataset: Dataset, place: Place, work: Path) -> Outcome:
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
        parts=_parts(subject, dataset, place, work),
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


def share_attacks(subject: Subject, dataset: Dataset, place: Place, work: Path) -> None:
    """The attacks of this process, for the one that is in `finish` with the same subject."""
    evaluation = subject.spec.evaluation
    surrogate = load_surrogate(evaluation, dataset, place)
    attacked_values(
        enter(subject.model, dataset, evaluation, device=place.device, surrogate=surrogate),
        choose_queries(dataset.test.labels, evaluation, dataset.name),
        batch_size=place.batch_size,
        parts=_parts(subject, dataset, place, work),
    )


def load_surrogate(evaluation: Evaluation, dataset: Dataset, place: Place) -> nn.Module | None:
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


@contextmanager
def _locked(lock: Path, refusal: str, place: Place) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(sole(lock, refusal))
        except OSError as error:
            raise _unwritable(place, error) from None
        yield


def _unwritable(place: Place, error: OSError) -> RbdmlError:
    remedy = "free some space, or " if is_full(error) else ""
    return RbdmlError(f"cannot write to {place.out} ({error.strerror}): {remedy}choose another folder with --out")


def _prepare(work: Path, place: Place) -> None:
    """Make the work folder, without what a killed process left half-written, or say that there is no writing to it."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        _sweep(work)
        for folder in (work.parent, place.out, place.out.parent):
            sync_folder(folder)
        (work / ".writable").touch()
        (work / ".writable").unlink()
    except OSError as error:
        _clear(work)
        raise _unwritable(place, error) from None


def _parts(subject: Subject, dataset: Dataset, place: Place, work: Path) -> Parts:
    """Where the evaluation keeps what it has found, for whoever does the very same one again."""
    decides = (
        subject.spec.evaluation.model_dump_json(),
        subject.weights,
        subject.source,
        provenance.attack_source(subject.spec.evaluation),
        *(f"{name} {found}" for name, found in sorted(dataset.hashes.items())),
        *(f"{name} {found}" for name, found in provenance.versions().items()),
        place.device.type,
        str(place.batch_size),
    )
    path, of, every = work / PARTS_FILE, "\n".join(decides), place.checkpoint_every
    if not team.leads():  # one process keeps the log
        return Parts(path, of=of, every=every)
    return LoggedParts(RunLog(work), path, of=of, every=every)


def _kept(work: Path) -> tuple[Path, ...]:
    """What an interrupted run goes on from."""
    return (*resume_files(work / RESUME_FILE), *parts_files(work / PARTS_FILE))


def _clear(work: Path) -> None:
    """Remove an unfinished work folder but for what a run goes on from and what tells of it."""
    with contextlib.suppress(OSError):  # what cannot be emptied stays
        _sweep(work)
        work.rmdir()
        work.parent.rmdir()


def _sweep(work: Path) -> None:
    """Remove all but what a run goes on from and what tells of it."""
    left = {*_kept(work), *log_files(work)}
    for path in work.iterdir():
        if path not in left:
            path.unlink()


def _forget(folder: Path) -> None:
    """Remove what a run goes on from."""
    with contextlib.suppress(OSError):  # beside a record that is for reading alone nobody goes on from it anyway
        for path in _kept(folder):
            path.unlink(missing_ok=True)


def _put_in_place(work: Path, folder: Path) -> None:
    """Have the work folder be that of the record; what it went on from goes only when that is sure to stay."""
    old = _old(folder)
    with deferred_interrupts() as pending:
        try:
            if folder.exists():
                folder.rename(old)
            work.rename(folder)
        except BaseException:
            _put_back(folder)
            raise
    sync_folder(folder.parent)
    _forget(folder)
    shutil.rmtree(old, ignore_errors=True)
    pending.check()


def _put_back(folder: Path) -> None:
    """The record that was to be replaced, where a process ended after taking it away; else remove the replaced one."""
    old = _old(folder)
    if old.exists() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")
