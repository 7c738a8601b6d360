"""The record of a run: spec, cost, results, and the provenance of every number."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Discriminator, Tag, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from robustbench_dml.evaluation.shown import Shown
from robustbench_dml.runs.queries import Values, load_values
from robustbench_dml.spec.schema import ComputeUsed, ExternalSpec, Frozen, RunSpec, TrainingEnd
from robustbench_dml.utils.errors import RbdmlError, first_invalid
from robustbench_dml.utils.files import CHECKPOINT, read_at_most, write_atomically

RECORD_FILE = "record.json"
QUERIES_FILE = "queries.npz"
CHECKPOINT_FILE = CHECKPOINT
# Flags that a mean radius is too high, and the measured values behind them.
SIZED, ALL_CHECKS = {"PGD overstates": "MR by PGD", "masked gradients": "MR by gradients"}, "MR by all checks"
MAX_BYTES = 1_000_000  # a record is a few kB; a larger file is not a record


class Cost(Frozen):
    """The cost of training."""

    spent: ComputeUsed
    passes: float  # image passes in `spent`
    nominal_per_iteration: int  # the papers' eta + 1, in passes of the batch
    metered_per_iteration: float  # the same, as measured
    peak_memory_bytes: int  # peak of the GPU during the run, or else of the process since it began


class Diagnostics(Frozen):
    """Results of the checks of an evaluation (see `robustbench_dml.evaluation.diagnostics`)."""

    flags: list[str]  # reasons to doubt the scores
    disqualifying: list[str]  # flags that exclude a model from the ranking
    measured: dict[str, float]  # all measurements, with and without a flag


class Provenance(Frozen):
    """Origin of the numbers."""

    created: str  # UTC, ISO 8601
    versions: dict[str, str]
    device: str  # product name of the evaluation's device
    cpu: str
    threads: int
    evaluation_batch_size: int
    commit: str | None  # commit of the project's source in a git checkout
    dirty: bool | None  # the checkout had uncommitted changes
    defense_source: str  # SHA-256 of the defense's modules, or of an external model's file
    dataset_files: dict[str, str]  # SHA-256 by file
    weights: str  # SHA-256 of the weights beside the record (`checkpoints.weights_hash`)
    queries: str  # SHA-256 of the file of per-query values beside the record


def _kind(spec: Any) -> str:
    """The kind of a spec, or of its JSON."""
    external = isinstance(spec, ExternalSpec) or (isinstance(spec, dict) and "model" in spec)
    return "model" if external else "run"


Spec = Annotated[Annotated[RunSpec, Tag("run")] | Annotated[ExternalSpec, Tag("model")], Discriminator(_kind)]


class Record(Shown, Frozen):
    """One run, or one evaluation of an external model. Values have the units of the papers."""

    version: Literal[2] = 2
    digest: str  # digest of the spec; also the name of the folder
    spec: Spec
    cost: Cost | None  # None for an external model
    benign: dict[str, float]
    attacked: dict[str, float]
    scores: dict[str, float]  # the ranking score first
    intervals: dict[str, tuple[float, float]]  # 95%, bootstrap over queries
    diagnostics: Diagnostics
    training_end: TrainingEnd | None  # None for an external model
    provenance: Provenance

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Require the cost and the end of training, except for external models."""
        if self.spec.trained_here and (self.cost is None or self.training_end is None):
            raise PydanticCustomError("incomplete", "Input should have a cost and a training_end")
        return self

    @property
    def flags(self) -> list[str]:
        """Reasons to doubt the scores."""
        return self.diagnostics.flags

    @property
    def disqualifying(self) -> list[str]:
        """Flags that exclude the record from the ranking. The others mean that attacks could have been stronger."""
        return self.diagnostics.disqualifying

    @property
    def sized_flags(self) -> list[str]:
        """The flags, those of a lower mean radius with the difference in 1/255."""
        measured = self.diagnostics.measured
        return [
            f"{flag}: {measured[ALL_CHECKS] - measured[SIZED[flag]]:.3g} MR"
            if SIZED.get(flag) in measured and ALL_CHECKS in measured
            else flag
            for flag in self.flags
        ]

    @property
    def score(self) -> str:
        """The name of the ranking score."""
        return next(iter(self.scores))

    @property
    def primary_score(self) -> float:
        """The ranking score; the Empirical Robustness Score in the protocols named after it."""
        return self.scores[self.score]

    def stored_in(self, folder: Path) -> Self:
        """Return the record with its folder, where its values per query lie."""
        copy = self.model_copy()
        vars(copy)["_folder"] = folder
        return copy

    @property
    def per_query(self) -> Values:
        """(Q,) arrays by column, and `query`, the rows of the test split.

        Raises:
            RbdmlError: the folder is not known, or see `load_values`.
        """
        folder = vars(self).get("_folder")
        if folder is None:
            raise RbdmlError("the folder of this record is not known: read it with robustbench_dml.load_record(FOLDER)")
        return read_queries(folder)

    def __repr__(self) -> str:
        seed = "" if self.spec.seed is None else f", seed {self.spec.seed}"
        return f"<Record {self.digest}: {self.spec.label} on {self.spec.dataset}{seed}; {self._in_short()}>"

    __str__ = __repr__


def write_record(folder: Path, record: Record) -> None:
    """Write `record.json`, atomically. It is written last: a folder with a record is complete."""
    text = record.model_dump_json(indent=1) + "\n"
    write_atomically(folder / RECORD_FILE, text.encode())


def read_record(folder: Path) -> Record:
    """Read the record in a folder.

    Raises:
        RbdmlError: missing, not of this schema, or with the digest of another spec.
    """
    path = folder / RECORD_FILE
    try:
        record = Record.model_validate_json(read_at_most(path, MAX_BYTES))
    except OSError as error:
        raise RbdmlError(f"{path}: cannot be read ({error.strerror}): remove its folder and run again") from None
    except ValidationError as error:
        found = first_invalid(error)
        name = re.sub(r"^spec\.\w+", "spec", found.name)  # without the tag of the union type
        if name == "version":
            raise RbdmlError(
                f"{path}: version {found.value!r} of records, and this package reads 2: remove its folder and run "
                "again, or evaluate its checkpoint again; a newer one needs an update of this package"
            ) from None
        raise RbdmlError(
            f"{path}: not a valid record: {name}: {found.message}: remove its folder, or update this package"
        ) from None
    if record.digest != record.spec.digest:
        raise RbdmlError(f"{path}: its digest is not that of its spec: it was altered: remove its folder and run again")
    return record


def record_folders(folder: Path) -> list[Path]:
    """List the folders of finished records below a folder, sorted by path."""
    folders = sorted(path.parent for path in folder.rglob(RECORD_FILE))
    return [path for path in folders if not path.name.startswith(".")]


def find_records(folder: Path) -> list[Record]:
    """Read all records below a folder, sorted by path."""
    return [read_record(path) for path in record_folders(folder)]


def write_queries(folder: Path, per_query: Mapping[str, np.ndarray]) -> None:
    """Write per-query values atomically: an array for each column, and `query`, the rows in the test split."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(per_query))  # type: ignore[arg-type]
    write_atomically(folder / QUERIES_FILE, buffer.getvalue())


def read_queries(folder: Path) -> Values:
    """Read the file of `write_queries`.

    Raises:
        RbdmlError: see `load_values`.
    """
    return load_values(folder / QUERIES_FILE)
