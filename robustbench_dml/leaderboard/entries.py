"""What lies below `leaderboards/`: entries, each a record with what is known of its submission.

leaderboards/<data set>/records/<digest>/record.json    as `rbdml run` or `rbdml evaluate` wrote it, never changed
                                         queries.npz    its per-query values
                                         entry.json     its submission: who, when, how it was checked
                                         reruns/<start of the weights' hash>/   the same spec, run again
leaderboards/<data set>/history/<digest>-<start of the weights' hash>/          revised or withdrawn
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from robustbench_dml.runs.record import RECORD_FILE, Record, read_record
from robustbench_dml.spec.schema import Frozen
from robustbench_dml.utils.errors import RbdmlError, first_invalid
from robustbench_dml.utils.files import read_at_most, write_atomically

ENTRY_FILE = "entry.json"
RECORDS, HISTORY, RERUNS = "records", "history", "reruns"
MAX_BYTES = 100_000  # of an entry file

Line = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]  # free text, one short line
Address = Annotated[str, Field(max_length=500, pattern=r"^https?://[^\s\x00-\x1f\"'<>\\]+$")]


class Verification(Frozen):
    """A second evaluation of the checkpoint on a part of the queries, by `rbdml submit`."""

    created: str  # UTC, ISO 8601
    queries: int  # how many were attacked again
    differences: dict[str, float]  # by column: mean over them of claimed minus found, in the units of the papers
    unequal: float  # share of their values that differ by more than rounding
    flags: list[str]  # that the second evaluation raised
    disqualifying: list[str]
    versions: dict[str, str]
    device: str
    commit: str | None
    dirty: bool | None


class Ended(Frozen):
    """Why an entry is in the history."""

    created: str  # UTC, ISO 8601
    how: Literal["revised", "withdrawn"]
    why: Line


class Entry(Frozen):
    """What is known of a submission beside its record."""

    version: Literal[1] = 1
    submitted: str  # UTC, ISO 8601
    by: Line = ""  # who submitted it
    paper: Line = ""  # where the defense is described
    checkpoint: Address | None = None  # where its weights can be had
    declared_passes: Annotated[float, Field(ge=0, le=1e15)] | None = None  # of a model that was not trained by `rbdml`
    verification: Verification | None = None
    ended: Ended | None = None

    @property
    def status(self) -> Literal["verified", "self-reported"]:
        """Verified once its checkpoint was evaluated again and agreed."""
        return "self-reported" if self.verification is None else "verified"


@dataclass(frozen=True)
class Listed:
    """A record and its entry.

    Attributes:
        record: as submitted.
        entry: of the submission.
        folder: where both are.
        reruns: records of the same spec by others.
    """

    record: Record
    entry: Entry
    folder: Path
    reruns: tuple[Record, ...] = ()

    @property
    def judged(self) -> Record:
        """The record with the flags that the second evaluation raised beside its own."""
        found, own = self.entry.verification, self.record.diagnostics
        if found is None:
            return self.record
        flags = list(dict.fromkeys([*own.flags, *found.flags]))
        disqualifying = list(dict.fromkeys([*own.disqualifying, *found.disqualifying]))
        both = own.model_copy(update={"flags": flags, "disqualifying": disqualifying})
        return self.record.model_copy(update={"diagnostics": both})


def read_entry(folder: Path) -> Entry:
    """The entry file of a folder.

    Raises:
        RbdmlError: missing or not of this schema.
    """
    path = folder / ENTRY_FILE
    try:
        content = read_at_most(path, MAX_BYTES)
        if content is None:
            raise RbdmlError(f"{path}: larger than {MAX_BYTES} bytes, which no entry is: submit the record again")
        return Entry.model_validate_json(content)
    except OSError as error:
        raise RbdmlError(
            f"{path}: cannot be read ({error.strerror}): entries are made by `rbdml submit`, not by hand"
        ) from None
    except ValidationError as error:
        found = first_invalid(error)
        raise RbdmlError(f"{path}: not a valid entry: {found.name}: {found.message}: submit the record again") from None


def write_entry(folder: Path, entry: Entry) -> None:
    """Write `entry.json`, atomically."""
    text = entry.model_dump_json(indent=1) + "\n"
    write_atomically(folder / ENTRY_FILE, text.encode())


def read_listed(folder: Path) -> Listed:
    """The entry in this folder.

    Raises:
        RbdmlError: a file of it is missing or not valid.
    """
    reruns = sorted(path.parent for path in (folder / RERUNS).glob(f"*/{RECORD_FILE}"))
    return Listed(read_record(folder), read_entry(folder), folder, tuple(map(read_record, reruns)))


def entry_folders(leaderboards: Path, kind: Literal["records", "history"] = "records") -> list[Path]:
    """The folders of all entries, in the order of their paths; hidden ones are unfinished and left out."""
    return sorted(
        path
        for path in leaderboards.glob(f"*/{kind}/*")
        if path.is_dir() and not any(part.startswith(".") for part in path.relative_to(leaderboards).parts)
    )


def read_all(leaderboards: Path, kind: Literal["records", "history"] = "records") -> list[Listed]:
    """All entries, in the order of their paths.

    Raises:
        RbdmlError: the first that cannot be read.
    """
    return [read_listed(folder) for folder in entry_folders(leaderboards, kind)]
