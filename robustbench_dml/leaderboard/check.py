"""Whether everything on the boards can be believed, as far as that goes without checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.leaderboard.board import Board, boards_of
from robustbench_dml.leaderboard.build import read_reported, texts
from robustbench_dml.leaderboard.entries import Listed, entry_folders, read_listed
from robustbench_dml.leaderboard.submission.audit import audit_entry
from robustbench_dml.leaderboard.submission.consistency import together
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import holds


@dataclass(frozen=True)
class Checked:
    """What was looked at and what was found.

    Attributes:
        entries: on the boards; those of the history are only read.
        boards: that they make.
        problems: each with its cause and remedy.
        notes: worth saying, and no reason to disbelieve anything.
    """

    entries: int
    boards: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def check_all(leaderboards: Path, paths: DataPaths) -> Checked:
    """Check every entry, all of them together, and that what is generated is of them.

    Args:
        leaderboards: the folder of all data sets.
        paths: where data may lie; what is not there is not compared with.

    Raises:
        RbdmlError: there is no such folder.
    """
    if not leaderboards.is_dir():
        raise RbdmlError(f"{leaderboards}: no such folder: name that of the leaderboards with --boards")
    listed, problems = _read(entry_folders(leaderboards))
    old, unreadable = _read(entry_folders(leaderboards, "history"))
    problems += unreadable
    problems += [f"{one.folder}: lies in the history and has not ended" for one in old if one.entry.ended is None]
    audits = [audit_entry(one, paths) for one in listed]
    problems += [*(problem for one in audits for problem in one.problems), *together(listed)]
    boards: list[Board] = []
    if not problems:  # boards of entries that are not to be believed would be another table
        boards = boards_of(listed, leaderboards)
        problems += _stale(boards, leaderboards)
    notes = dict.fromkeys(note for one in audits for note in one.notes)
    return Checked(len(listed), len(boards), tuple(problems), tuple(notes))


def _read(folders: Sequence[Path]) -> tuple[list[Listed], list[str]]:
    found, problems = [], []
    for folder in folders:
        try:
            found.append(read_listed(folder))
        except RbdmlError as error:
            problems.append(str(error))
    return found, problems


def _stale(boards: Sequence[Board], leaderboards: Path) -> list[str]:
    """Tables and pages that are not what `build` would write. Pictures are not drawn again here."""
    wanted = texts(boards, read_reported(leaderboards), leaderboards)
    return [
        f"{path}: is not of these entries: run `rbdml leaderboard build`"
        for path, text in wanted.items()
        if not holds(path, text.encode())
    ]
