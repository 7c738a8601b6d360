"""The folder of a run, from the first byte to the finished record."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout

from robustbench_dml.evaluation.attack_cache import CACHE_FILE, cache_files
from robustbench_dml.runs.record import RECORD_FILE, Record, read_record
from robustbench_dml.spec.schema import ExternalSpec, RunSpec
from robustbench_dml.training.resume import RESUME_FILE, resume_files
from robustbench_dml.training.tensorboard import EVENTS
from robustbench_dml.utils.errors import DivergedError, RbdmlError
from robustbench_dml.utils.files import is_full, is_write_failure, sync_folder
from robustbench_dml.utils.interrupts import deferred_interrupts
from robustbench_dml.utils.locks import exclusive_or_fail
from robustbench_dml.utils.runlog import LOG_FILE, RunLog

LOCKS = ".locks"  # below the folder of records
FIRST, REPEATED, EVALUATED = "part", "again", "evaluation"  # purposes of a work folder, and the ends of its name


@dataclass(frozen=True)
class RunFolder:
    """The folder of one record, `out/<data set>/<digest>`, and the files that belong to it.

    The work is done in a hidden folder beside it, under a lock. The finished work folder replaces the record's folder
    in one step.
    """

    out: Path  # the folder of records
    spec: RunSpec | ExternalSpec  # the run

    @cached_property
    def path(self) -> Path:
        """The folder of the record."""
        return self.out / self.spec.dataset_folder / self.spec.digest

    @property
    def record_file(self) -> Path:
        """The file of the record; it exists once the run is done."""
        return self.path / RECORD_FILE

    @property
    def lock(self) -> Path:
        """The file that a process locks during the run."""
        return self.out / LOCKS / f"{self.spec.dataset_folder}-{self.path.name}.lock"

    @property
    def process_log(self) -> Path:
        """The output of a sweep's processes, the latest process last."""
        return self.path.with_name(f"{self.path.name}.log")

    def work(self, purpose: str = FIRST) -> Path:
        """Return the hidden folder in which the work is done."""
        return self.path.with_name(f".{self.path.name}.{purpose}")

    def read(self) -> Record | None:
        """Read the record, if there is one.

        Raises:
            RbdmlError: the record is damaged.
        """
        return read_record(self.path) if self.record_file.is_file() else None

    def is_locked(self) -> bool:
        """Return whether a process is doing the run. The check takes the lock for an instant."""
        if not self.lock.exists():
            return False
        probe = FileLock(self.lock)
        try:
            probe.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:  # no process can hold a lock on a read-only disk
            return False
        probe.release()
        return False

    @contextmanager
    def working(self, purpose: str) -> Iterator[Path]:
        """Hold the lock and yield the work folder; pass it to `publish` when the record is complete.

        After an exception only the stored states and the log stay; the run resumes from them. After a training that
        diverged only the log stays.

        Raises:
            BusyError: another process is doing this run.
            RbdmlError: the folder of records cannot be written.
        """
        work = self.work(purpose)
        with self._locked():
            self._prepare(work)
            try:
                self._restore()
                with RunLog(work).ending():
                    yield work
            except DivergedError:
                _forget(work)
                raise
            except OSError as error:
                if not is_write_failure(error, self.out):  # a defense or an attack may open other files
                    raise
                raise RbdmlError(
                    f"could not write below {self.out} ({error.strerror}): free some space, then give the same command "
                    "again"
                ) from None
            finally:
                _clear(work)

    def publish(self, work: Path) -> None:
        """Replace the record's folder by the work folder. The stored states are removed last."""
        with deferred_interrupts() as pending:
            try:
                if self.path.exists():
                    self.path.rename(self._replaced)
                work.rename(self.path)
            except BaseException:
                self._restore()
                raise
        sync_folder(self.path.parent)
        self.forget()
        shutil.rmtree(self._replaced, ignore_errors=True)
        pending.check()

    def forget(self) -> None:
        """Remove the stored states that a killed process may have left beside the record."""
        _forget(self.path)

    def copy_log(self, work: Path) -> None:
        """Copy the record's log to the work folder, unless the work folder has a log."""
        with suppress(OSError):
            for path in () if _logs(work) else _logs(self.path):
                shutil.copy2(path, work / path.name)

    @property
    def _replaced(self) -> Path:
        """The name of the old folder while a new folder replaces it."""
        return self.path.with_name(f".{self.path.name}.old")

    def _restore(self) -> None:
        """Bring back the old record after a process ended between the two renames; else remove the old record."""
        if self._replaced.exists() and not self.path.exists():
            self._replaced.rename(self.path)
        shutil.rmtree(self._replaced, ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                busy = f"another process is doing this run ({self.path}): wait for it, or stop it"
                stack.enter_context(exclusive_or_fail(self.lock, busy))
            except OSError as error:
                raise self._unwritable(error) from None
            yield

    def _prepare(self, work: Path) -> None:
        """Make the work folder, remove incomplete files of a killed process, and check write permission."""
        try:
            work.mkdir(parents=True, exist_ok=True)
            _sweep(work)
            for folder in (work.parent, self.out, self.out.parent):
                sync_folder(folder)
            (work / ".writable").touch()
            (work / ".writable").unlink()
        except OSError as error:
            _clear(work)
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> RbdmlError:
        remedy = "free some space, or " if is_full(error) else ""
        return RbdmlError(f"cannot write to {self.out} ({error.strerror}): {remedy}choose another folder with --out")


def _states(folder: Path) -> tuple[Path, ...]:
    """The files from which an interrupted run resumes."""
    return (*resume_files(folder / RESUME_FILE), *cache_files(folder / CACHE_FILE))


def _logs(folder: Path) -> list[Path]:
    """The log of a run and the event files of TensorBoard."""
    return [*folder.glob(LOG_FILE), *folder.glob(f"{EVENTS}.*")]


def _clear(work: Path) -> None:
    """Remove an unfinished work folder except for states and logs."""
    with suppress(OSError):  # a folder that is not empty stays
        _sweep(work)
        work.rmdir()
        work.parent.rmdir()


def _sweep(work: Path) -> None:
    """Remove everything but states and logs."""
    kept = {*_states(work), *_logs(work)}
    for path in work.iterdir():
        if path not in kept:
            path.unlink()


def _forget(folder: Path) -> None:
    with suppress(OSError):  # no run resumes on a read-only disk
        for path in _states(folder):
            path.unlink(missing_ok=True)
