"""Evaluating a model and writing its record: wholly or not at all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from robustbench_dml.evaluation.attack_cache import CACHE_FILE, cache_files
from robustbench_dml.runs.context import RunContext
from robustbench_dml.spec.schema import ExternalSpec, RunSpec
from robustbench_dml.training.resume import RESUME_FILE, resume_files
from robustbench_dml.training.tensorboard import EVENTS
from robustbench_dml.utils.errors import DivergedError, RbdmlError
from robustbench_dml.utils.files import is_full, is_write_failure, sync_folder
from robustbench_dml.utils.interrupts import deferred_interrupts
from robustbench_dml.utils.locks import exclusive_or_fail
from robustbench_dml.utils.runlog import LOG_FILE, RunLog

LOCKS = ".locks"  # below the folder of records
PART = "part"  # the end of the name of a first run's work folder
REFUSAL = "another process is doing this run"


def lock_of(folder: Path) -> Path:
    """What the process holds that makes the record in this folder, `out/<data set>/<digest>`."""
    return folder.parents[1] / LOCKS / f"{folder.parent.name}-{folder.name}.lock"


def part_of(folder: Path) -> Path:
    """Where what a first run goes on from is kept, until the record is in this folder."""
    return folder.with_name(f".{folder.name}.{PART}")


@contextmanager
def workplace(spec: RunSpec | ExternalSpec, place: RunContext, purpose: str) -> Iterator[Path]:
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
            if not is_write_failure(error, place.out):  # a defense or an attack may open files of its own
                raise
            raise RbdmlError(
                f"could not write below {place.out} ({error.strerror}): free some space, then give the same command "
                "again"
            ) from None
        finally:
            _clear(work)


@contextmanager
def _locked(lock: Path, refusal: str, place: RunContext) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive_or_fail(lock, refusal))
        except OSError as error:
            raise _unwritable(place, error) from None
        yield


def _unwritable(place: RunContext, error: OSError) -> RbdmlError:
    remedy = "free some space, or " if is_full(error) else ""
    return RbdmlError(f"cannot write to {place.out} ({error.strerror}): {remedy}choose another folder with --out")


def _prepare(work: Path, place: RunContext) -> None:
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


def _kept(work: Path) -> tuple[Path, ...]:
    """What an interrupted run goes on from."""
    return (*resume_files(work / RESUME_FILE), *cache_files(work / CACHE_FILE))


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


def log_files(folder: Path) -> list[Path]:
    """What tells of a run, in its folder: the log and the event files of TensorBoard."""
    return [*folder.glob(LOG_FILE), *folder.glob(f"{EVENTS}.*")]


def keep_log(source: Path, work: Path) -> None:
    """Copy what tells of a run to the folder that is to replace its own, unless that was begun before."""
    with suppress(OSError):
        for path in () if log_files(work) else log_files(source):
            shutil.copy2(path, work / path.name)
