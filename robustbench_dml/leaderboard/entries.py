"""Entries of the leaderboards: a record, and the facts of its submission.

leaderboards/<data set>/records/<digest>/record.json    as `rbdml run` or `rbdml evaluate` wrote it, never changed
                                         queries.npz    its per-query values
                                         entry.json     its submission: who, when, how it was checked
                                         reruns/<start of the weights' hash>/   the same spec, run again
leaderboards/<data set>/history/<digest>-<start of the weights' hash>/          revised or withdrawn
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from robustbench_dml.runs.record import RECORD_FILE, Record, read_record
from robustbench_dml.spec.schema import Frozen
from robustbench_dml.utils.errors import RbdmlError, first_invalid
from robustbench_dml.utils.files import read_at_most, write_atomically

NAME = "leaderboards"
CHECKOUT = Path(__file__).resolve().parents[2]
INSTALLED = Path(__file__).resolve().parents[1] / NAME
ENTRY_FILE = "entry.json"
RECORDS, HISTORY, RERUNS = "records", "history", "reruns"
SHORT = 16  # digits of a hash in messages and in names of folders
MAX_BYTES = 100_000  # size limit of an entry file

Line = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]  # free text, one short line
Address = Annotated[str, Field(max_length=500, pattern=r"^https?://[^\s\x00-\x1f\"'<>\\]+$")]


class Verification(Frozen):
    """A second evaluation of the checkpoint on a part of the queries, by `rbdml submit`."""

    created: str  # UTC, ISO 8601
    queries: int  # number of queries attacked again
    differences: dict[str, float]  # mean of claimed minus measured by column, in the units of the papers
    unequal: float  # share of the attacked values that differ by more than rounding
    flags: list[str]  # raised by the second evaluation
    disqualifying: list[str]
    versions: dict[str, str]
    device: str
    commit: str | None
    dirty: bool | None


class Ended(Frozen):
    """The reason why an entry is in the history."""

    created: str  # UTC, ISO 8601
    how: Literal["revised", "withdrawn"]
    why: Line


class Entry(Frozen):
    """The facts of a submission beside its record."""

    version: Literal[1] = 1
    submitted: str  # UTC, ISO 8601
    by: Line = ""  # name of the submitter
    paper: Line = ""  # description of the defense
    checkpoint: Address | None = None  # public address of the weights
    declared_passes: Annotated[float, Field(ge=0, le=1e15)] | None = None  # training cost of an external model
    verification: Verification | None = None
    ended: Ended | None = None

    @property
    def status(self) -> Literal["verified", "self-reported"]:
        """`verified` if the second evaluation agreed."""
        return "self-reported" if self.verification is None else "verified"


@dataclass(frozen=True)
class Listed:
    """A record, its entry and the folder of both."""

    record: Record
    entry: Entry
    folder: Path
    reruns: tuple[Record, ...] = ()  # reruns of the same spec by others

    @property
    def judged(self) -> Record:
        """The record with the flags of both evaluations."""
        second, first = self.entry.verification, self.record.diagnostics
        if second is None:
            return self.record
        both = {
            "flags": list(dict.fromkeys([*first.flags, *second.flags])),
            "disqualifying": list(dict.fromkeys([*first.disqualifying, *second.disqualifying])),
        }
        return self.record.model_copy(update={"diagnostics": first.model_copy(update=both)})


def find_leaderboards(given: Path | None = None, *, installed: bool = False) -> Path:
    """Return the given folder, else `leaderboards` in the current folder, else `leaderboards` in the checkout.

    Args:
        given: the folder that the user names.
        installed: accept the boards in the installed package last. They are for reading alone.

    Raises:
        RbdmlError: the given folder does not exist, or no folder is given and none of the others exists.
    """
    if given is not None:
        return _existing(given)
    checkout = [CHECKOUT / NAME] if (CHECKOUT / "pyproject.toml").is_file() else []
    for folder in (Path(NAME), *checkout):
        if folder.is_dir():
            return folder
    if installed and any(INSTALLED.glob(f"*/{RECORDS}")):
        return INSTALLED
    raise RbdmlError(f"no folder '{NAME}' here: go into a checkout of the project, or name the folder with --boards")


def find_entry(path: Path) -> Path:
    """Return the folder of an entry for a digest on the boards; any other path stays as it is."""
    if path.exists() or not re.fullmatch(r"[0-9a-f]{16}", str(path)):
        return path
    entries = find_leaderboards(installed=True).glob(f"*/{RECORDS}/{path}")
    return next(entries, path)


def described(record: Record) -> str:
    """Name a record in a message by digest, defense and seed."""
    seed = "" if record.spec.seed is None else f", seed {record.spec.seed}"
    return f"{record.digest} ({record.spec.label}{seed})"


def read_entry(folder: Path) -> Entry:
    """Read `entry.json`.

    Raises:
        RbdmlError: missing, too large or not of this schema.
    """
    path = folder / ENTRY_FILE
    try:
        return Entry.model_validate_json(read_at_most(path, MAX_BYTES))
    except OSError as error:
        raise RbdmlError(
            f"{path}: cannot be read ({error.strerror}): entries are made by `rbdml submit`, not by hand"
        ) from None
    except ValidationError as error:
        invalid = first_invalid(error)
        raise RbdmlError(
            f"{path}: not a valid entry: {invalid.name}: {invalid.message}: submit the record again"
        ) from None


def write_entry(folder: Path, entry: Entry) -> None:
    """Write `entry.json`, atomically."""
    text = entry.model_dump_json(indent=1) + "\n"
    write_atomically(folder / ENTRY_FILE, text.encode())


def read_listed(folder: Path) -> Listed:
    """Read the record, the entry and the reruns in a folder.

    Raises:
        RbdmlError: a file is missing or not valid.
    """
    reruns = sorted(path.parent for path in (folder / RERUNS).glob(f"*/{RECORD_FILE}"))
    return Listed(read_record(folder), read_entry(folder), folder, tuple(map(read_record, reruns)))


def entry_folders(leaderboards: Path, kind: Literal["records", "history"] = "records") -> list[Path]:
    """List the folders of all entries in the order of their paths, without hidden folders, which are incomplete.

    Raises:
        RbdmlError: there is no folder of leaderboards.
    """
    return sorted(
        path
        for path in _existing(leaderboards).glob(f"*/{kind}/*")
        if path.is_dir() and not any(part.startswith(".") for part in path.relative_to(leaderboards).parts)
    )


def read_all(leaderboards: Path, kind: Literal["records", "history"] = "records") -> list[Listed]:
    """Read all entries in the order of their paths.

    Raises:
        RbdmlError: there is no folder of leaderboards, or an entry is not valid.
    """
    return [read_listed(folder) for folder in entry_folders(leaderboards, kind)]


def _existing(leaderboards: Path) -> Path:
    if not leaderboards.is_dir():
        raise RbdmlError(f"{leaderboards}: no such folder: name that of the leaderboards with --boards")
    return leaderboards
