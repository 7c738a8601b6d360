"""The progress of a run, read from its record, lock, states and log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from robustbench_dml.evaluation.attack_cache import CACHE_FILE
from robustbench_dml.runs.record import Record
from robustbench_dml.runs.sweeps.logs import last_attempt
from robustbench_dml.runs.sweeps.plan import Job
from robustbench_dml.spec.protocols import attacks_of
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.spec.schema import ComputeUsed, RunSpec
from robustbench_dml.training.resume import RESUME_FILE, resume_files
from robustbench_dml.utils.errors import RbdmlError


class State(StrEnum):
    """The state of a run."""

    DONE = "done"  # recorded
    RUNNING = "running"  # its lock is held
    INTERRUPTED = "interrupted"  # it can resume from a stored state
    FAILED = "failed"
    WAITING = "waiting"  # there is no record, state or failure


@dataclass(frozen=True)
class Kept:
    """The stored progress of an unfinished run."""

    spent: ComputeUsed  # the cost of its training so far
    trained: float  # the share of its training that is done
    evaluated: float  # the share of its attacks that is done

    def __str__(self) -> str:
        if self.trained < 1:
            return f"{self.trained:.0%} trained"
        return f"trained, {self.evaluated:.0%} evaluated"


@dataclass(frozen=True)
class Status:
    """A run of a sweep and its progress."""

    job: Job
    state: State
    record: Record | None = None  # the record of a run that is done
    kept: Kept | None = None  # the stored progress of an unfinished run
    why: str = ""  # the reason of a failure


def status_of(job: Job) -> Status:
    """Return the progress of a run. Nothing is changed."""
    record, damaged = record_of(job)
    if record is not None:
        return Status(job, State.DONE, record)
    kept = kept_of(job)
    if job.folder.is_locked():
        return Status(job, State.RUNNING, kept=kept)
    attempt = last_attempt(job.folder.process_log)
    if damaged or (attempt is not None and attempt.failed):
        return Status(job, State.FAILED, kept=kept, why=damaged or (attempt.why if attempt else ""))
    return Status(job, State.INTERRUPTED if kept else State.WAITING, kept=kept)


def record_of(job: Job) -> tuple[Record | None, str]:
    """Return the record of a run, or the damage to the record; None and "" without a record."""
    try:
        return job.folder.read(), ""
    except RbdmlError as error:
        return None, str(error)


def kept_of(job: Job) -> Kept | None:
    """Return the stored progress of an unfinished run, or None without a readable state."""
    work, budget = job.folder.work(), job.spec.budget
    for path in resume_files(work / RESUME_FILE):
        try:
            with safe_open(path, framework="np") as file:
                state = file.metadata() or {}
            spent = ComputeUsed.model_validate_json(state["spent"])
            costliest = float(json.loads(state["progress"])["costliest"])
        except (OSError, SafetensorError, KeyError, ValueError, ValidationError):
            continue
        share, evaluated = spent.of(budget) / budget.amount, _evaluated(job.spec, work / CACHE_FILE)
        over = share + costliest / budget.amount > 1 or evaluated > 0
        return Kept(spent, 1.0 if over else min(share, 0.994), evaluated)  # never shown as 100%
    return None


def _evaluated(spec: RunSpec, path: Path) -> float:
    """The share of all attacks' values that an unfinished evaluation has stored."""
    evaluation, counted = spec.evaluation, dict[str, int]()
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - attack/rows/column; one column of each attack counts
                counted[name.rpartition("/")[0]] = file.get_slice(name).get_shape()[0]
        queries = evaluation.queries or DATASETS.get(spec.dataset).test_images
    except (OSError, SafetensorError, RbdmlError):
        return 0.0
    attacks = attacks_of(evaluation)
    return min(1.0, sum(counted.values()) / (queries * len(attacks)))
