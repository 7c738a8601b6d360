"""Figures alone, drawn again from what is there."""

from __future__ import annotations

from pathlib import Path

from robustbench_dml.leaderboard.board import read_boards
from robustbench_dml.leaderboard.find import find_leaderboards
from robustbench_dml.report.figures.style import StyleName
from robustbench_dml.report.figures.write import write_figures, write_published
from robustbench_dml.report.published import FILE, read_published
from robustbench_dml.utils.errors import RbdmlError


def redraw_boards(leaderboards: Path | None, out: Path | None, style: StyleName) -> list[Path]:
    """Write the figures of all boards.

    Args:
        leaderboards: folder of the boards, see `find_leaderboards`.
        out: where to, a folder for each board; by default the boards' own.
        style: the kind of files.

    Raises:
        RbdmlError: no boards, an entry that cannot be read, or a folder that cannot be written to.
    """
    place = find_leaderboards(leaderboards)
    boards = read_boards(place)
    if not boards:
        raise RbdmlError(f"no entries below {place}: draw a folder of runs with --records, or name another --boards")
    return [
        path
        for board in boards
        for path in write_figures(board.rows, out / board.name if out else board.folder, style, passes=board.passes)
    ]


def redraw_published(leaderboards: Path | None, out: Path | None, style: StyleName) -> list[Path]:
    """Write the figures of the reported results.

    Args:
        leaderboards: above `published/published.csv`, see `find_leaderboards`.
        out: where to; by default beside that file.
        style: the kind of files.

    Raises:
        RbdmlError: no such file or not of that form, or a folder that cannot be written to.
    """
    folder = find_leaderboards(leaderboards) / "published"
    return write_published(read_published(folder / FILE), out or folder, style)
