"""How far a run is, by what is on disk: its record, its lock, its checkpoints, its log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from robustbench_dml.evaluation.attack_cache import CACHE_FILE
from robustbench_dml.runs.record import Record, read_record
from robustbench_dml.runs.sweeps.logs import last_attempt
from robustbench_dml.runs.sweeps.plan import Job
from robustbench_dml.spec.protocols import attacks_of
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.spec.schema import ComputeUsed, RunSpec
from robustbench_dml.training.resume import RESUME_FILE, resume_files
from robustbench_dml.utils.errors import RbdmlError


class State(StrEnum):
    """Of a run."""

    DONE = "done"  # recorded
    RUNNING = "running"  # its lock is held
    INTERRUPTED = "interrupted"  # there is something to go on from
    FAILED = "failed"
    WAITING = "waiting"  # nothing was done yet, or nothing is left of it


@dataclass(frozen=True)
class Kept:
    """What an unfinished run has kept on disk.

    Attributes:
        spent: by its training.
        trained: share of its training that is done.
        evaluated: share of its attacks that is done.
    """

    spent: ComputeUsed
    trained: float
    evaluated: float

    def __str__(self) -> str:
        if self.trained < 1:
            return f"{self.trained:.0%} trained"
        return f"trained, {self.evaluated:.0%} evaluated"


@dataclass(frozen=True)
class Look:
    """What a look at a run has found.

    Attributes:
        job: the run.
        state: of it.
        record: where it is done.
        kept: where something of an unfinished run is there.
        why: it failed.
    """

    job: Job
    state: State
    record: Record | None = None
    kept: Kept | None = None
    why: str = ""


def look(job: Job) -> Look:
    """How far a run is. Nothing is changed."""
    record, damaged = record_of(job)
    if record is not None:
        return Look(job, State.DONE, record)
    kept = kept_of(job)
    if held(job.lock):
        return Look(job, State.RUNNING, kept=kept)
    attempt = last_attempt(job.log)
    if damaged or (attempt is not None and attempt.failed):
        return Look(job, State.FAILED, kept=kept, why=damaged or (attempt.why if attempt else ""))
    return Look(job, State.INTERRUPTED if kept else State.WAITING, kept=kept)


def record_of(job: Job) -> tuple[Record | None, str]:
    """The record of a run, or what is wrong with it; neither where there is none."""
    if not job.record.is_file():
        return None, ""
    try:
        return read_record(job.folder), ""
    except RbdmlError as error:
        return None, str(error)


def held(lock: Path) -> bool:
    """Whether a process holds a lock. It is taken for an instant to see that."""
    if not lock.exists():
        return False
    probe = FileLock(lock)
    try:
        probe.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # it may be read and not locked: whether it is held cannot be seen from here
        return False
    probe.release()
    return False


def kept_of(job: Job) -> Kept | None:
    """What an unfinished run goes on from, None where there is nothing that can be read."""
    for path in resume_files(job.part / RESUME_FILE):
        try:
            with safe_open(path, framework="np") as file:
                state = file.metadata() or {}
            spent = ComputeUsed.model_validate_json(state["spent"])
            costliest = float(json.loads(state["progress"])["costliest"])
        except (OSError, SafetensorError, KeyError, ValueError, ValidationError):
            continue
        budget = job.spec.budget
        share = spent.of(budget) / budget.amount
        evaluated = _evaluated(job.spec, job.part / CACHE_FILE)
        over = share + costliest / budget.amount > 1 or evaluated > 0
        return Kept(spent, 1.0 if over else min(share, 0.994), evaluated)  # never shown as 100%
    return None


def _evaluated(spec: RunSpec, path: Path) -> float:
    """Share of the values of all attacks that an unfinished evaluation has kept."""
    evaluation, counted = spec.evaluation, dict[str, int]()
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - attack/rows/column; one column of each counts
                counted[name.rpartition("/")[0]] = file.get_slice(name).get_shape()[0]
        queries = evaluation.queries or DATASETS.get(spec.dataset).test_images
    except (OSError, SafetensorError, RbdmlError):
        return 0.0
    attacks = attacks_of(evaluation)
    return min(1.0, sum(counted.values()) / (queries * len(attacks)))
