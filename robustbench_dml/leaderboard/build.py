"""Write the generated files of the leaderboards from the entries alone: tables, figures and the page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from robustbench_dml.leaderboard.board import Board, read_boards
from robustbench_dml.leaderboard.entries import INSTALLED, find_leaderboards
from robustbench_dml.leaderboard.page.render import render
from robustbench_dml.leaderboard.tables import board_csv, board_markdown, board_top, reported_markdown
from robustbench_dml.report.figures.style import StyleName
from robustbench_dml.report.figures.write import write_figures, write_published
from robustbench_dml.report.published import FILE, Reported, read_published
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import write_if_changed

TABLE, VALUES, PAGE = "table.md", "table.csv", "index.html"
GENERATED = (TABLE, VALUES, "*.png", "*.svg", "*.pdf")
PUBLISHED = "published"
# A README shows the top of a board here: <!-- board NAME 5 --> ... <!-- end of board -->
MARKED = re.compile(r"(<!-- board (?P<name>[\w.-]+) (?P<top>\d+) -->\n).*?(<!-- end of board -->)", re.DOTALL)


def build(leaderboards: Path) -> list[Path]:
    """Write the tables, figures and page of all boards, and the tops of boards in the README beside the folder.

    Unchanged files are not touched; generated files of former boards are removed.

    Returns:
        All generated files, in the order of the boards.

    Raises:
        RbdmlError: an entry is not valid, or there is no permission or space to write.
    """
    boards, reported = read_boards(leaderboards), read_reported(leaderboards)
    contents = texts(boards, reported, leaderboards)
    try:
        for path, text in contents.items():
            write_if_changed(path, text.encode())
        figures = _draw(boards) + write_published(reported, leaderboards / PUBLISHED)
        for former in _generated(leaderboards) - {*contents, *figures}:
            former.unlink()
    except OSError as error:
        raise RbdmlError(
            f"cannot write below {leaderboards} ({error.strerror}): free some space or get permission"
        ) from None
    return [*contents, *figures]


def redraw_boards(leaderboards: Path | None, out: Path | None, style: StyleName) -> list[Path]:
    """Write the figures of all boards, into their folders or into a folder for each board in `out`.

    Raises:
        RbdmlError: no boards, an invalid entry, or a folder without write permission.
    """
    folder = find_leaderboards(leaderboards, installed=True)
    boards = read_boards(folder)
    if not boards:
        raise RbdmlError(f"no entries below {folder}: draw a folder of runs with --records, or name another --boards")
    return _draw(boards, style, out or _beside(folder))


def redraw_published(leaderboards: Path | None, out: Path | None, style: StyleName) -> list[Path]:
    """Write the figures of the reported results, by default beside their file; arguments as in `redraw_boards`.

    Raises:
        RbdmlError: the file is missing or not valid, or a folder cannot be written to.
    """
    folder = find_leaderboards(leaderboards, installed=True)
    reported = read_published(folder / PUBLISHED / FILE)
    return write_published(reported, out or _beside(folder) or folder / PUBLISHED, style)


def _beside(folder: Path) -> Path | None:
    """Return the current folder for the boards of the installed package, which are not written to; None for others."""
    return Path() if folder == INSTALLED else None


def read_reported(leaderboards: Path) -> list[Reported]:
    """Read the reported results; none without their file."""
    path = leaderboards / PUBLISHED / FILE
    return read_published(path) if path.is_file() else []


def texts(boards: Sequence[Board], reported: Sequence[Reported], leaderboards: Path) -> dict[Path, str]:
    """Return the content of every text file that `build` writes."""
    contents = {board.folder / TABLE: f"# {board.name}\n\n{board_markdown(board)}" for board in boards}
    contents |= {board.folder / VALUES: board_csv(board) for board in boards}
    contents |= {leaderboards / PUBLISHED / TABLE: reported_markdown(reported)} if reported else {}
    contents[leaderboards / PAGE] = render(boards, reported)
    readme = leaderboards.parent / "README.md"
    if readme.is_file():
        try:
            contents[readme] = with_tops(readme.read_bytes().decode(), boards)
        except UnicodeDecodeError:
            raise RbdmlError(f"{readme}: not in UTF-8: convert it") from None
    return contents


def with_tops(text: str, boards: Sequence[Board]) -> str:
    """Fill the marked parts of a README with the tops of boards."""
    named = {board.name: board for board in boards}

    def top(match: re.Match[str]) -> str:
        board = named.get(match["name"])
        if board is None:  # its last entry may have been withdrawn
            return f"{match[1]}No entry on board `{match['name']}` yet.\n{match[4]}"
        return f"{match[1]}{board_top(board, int(match['top']))}{match[4]}"

    return MARKED.sub(top, text)


def _draw(boards: Sequence[Board], style: StyleName = "screen", out: Path | None = None) -> list[Path]:
    return [
        path
        for board in boards
        for path in write_figures(board.rows, out / board.name if out else board.folder, style, passes=board.passes)
    ]


def _generated(leaderboards: Path) -> set[Path]:
    """Find generated files by their names, in the folders of boards alone; paper figures are the user's."""
    folders = [*leaderboards.glob("*/"), *leaderboards.glob("*/*-*-??????/")]
    paths = {path for folder in folders for pattern in GENERATED for path in folder.glob(pattern)}
    return {path for path in paths if not path.stem.endswith("-paper")}
