"""Check all leaderboards, as far as that is possible without checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.leaderboard.board import Board, boards_of
from robustbench_dml.leaderboard.build import read_reported, texts
from robustbench_dml.leaderboard.entries import Listed, entry_folders, read_listed
from robustbench_dml.leaderboard.submission.audit import audit_entry
from robustbench_dml.leaderboard.submission.consistency import consistency_problems
from robustbench_dml.leaderboard.submission.zoo import zoo_problems
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import holds


@dataclass(frozen=True)
class Checked:
    """Results of a check."""

    entries: int  # number on the boards; entries in the history are only read
    boards: int
    problems: tuple[str, ...]  # each with its cause and remedy
    notes: tuple[str, ...]  # no reason for doubt


def check_all(leaderboards: Path, paths: DataPaths) -> Checked:
    """Check every entry, the entries against each other, and the generated files against the entries.

    Args:
        paths: the folders of the data; missing data sets are not compared.

    Raises:
        RbdmlError: there is no such folder.
    """
    listed, problems = _read(entry_folders(leaderboards))
    former, unreadable = _read(entry_folders(leaderboards, "history"))
    problems += unreadable
    problems += [f"{one.folder}: lies in the history and has not ended" for one in former if one.entry.ended is None]
    audits = [audit_entry(one, paths) for one in listed]
    problems += [problem for one in audits for problem in one.problems]
    problems += [*consistency_problems(listed), *zoo_problems(listed, leaderboards)]
    boards: list[Board] = []
    if not problems:  # wrong entries would make wrong tables
        boards = boards_of(listed, leaderboards)
        problems += _outdated(boards, leaderboards)
    notes = dict.fromkeys(note for one in audits for note in one.notes)
    return Checked(len(listed), len(boards), tuple(problems), tuple(notes))


def _read(folders: Sequence[Path]) -> tuple[list[Listed], list[str]]:
    listed, problems = [], []
    for folder in folders:
        try:
            listed.append(read_listed(folder))
        except RbdmlError as error:
            problems.append(str(error))
    return listed, problems


def _outdated(boards: Sequence[Board], leaderboards: Path) -> list[str]:
    """Find tables and pages that `build` would change. Figures are not compared."""
    wanted = texts(boards, read_reported(leaderboards), leaderboards)
    return [
        f"{path}: is not of these entries: run `rbdml leaderboard build`"
        for path, text in wanted.items()
        if not holds(path, text.encode())
    ]
