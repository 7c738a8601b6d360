"""Everything that is generated below `leaderboards/`, from the entries and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from robustbench_dml.leaderboard.board import Board, read_boards
from robustbench_dml.leaderboard.page.render import render
from robustbench_dml.leaderboard.tables import board_csv, board_markdown, reported_markdown
from robustbench_dml.report.figures.write import write_figures, write_published
from robustbench_dml.report.published import FILE, Reported, read_published
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import write_if_changed

TABLE, VALUES, PAGE = "table.md", "table.csv", "index.html"
GENERATED = (TABLE, VALUES, "*.png", "*.svg", "*.pdf")
PUBLISHED = "published"
# Where a README shows the top of a board: <!-- board NAME 5 --> ... <!-- end of board -->
MARKED = re.compile(r"(<!-- board (?P<name>[\w.-]+) (?P<top>\d+) -->\n).*?(<!-- end of board -->)", re.DOTALL)


def build(leaderboards: Path) -> list[Path]:
    """Write tables, figures and the page of all boards, and the tops of boards in the README beside the folder.

    What is there already and would be the same is not touched; what belongs to no board any more is removed.

    Args:
        leaderboards: the folder of all data sets.

    Returns:
        What is generated, in the order of the boards.

    Raises:
        RbdmlError: an entry that cannot be read, or no permission or room to write.
    """
    boards, reported = read_boards(leaderboards), read_reported(leaderboards)
    try:
        written = []
        for path, text in texts(boards, reported, leaderboards).items():
            write_if_changed(path, text.encode())
            written.append(path)
        for board in boards:
            written += write_figures(board.rows, board.folder, passes=board.passes)
        written += write_published(reported, leaderboards / PUBLISHED)
        for stale in _generated(leaderboards) - set(written):
            stale.unlink()
    except OSError as error:
        raise RbdmlError(
            f"cannot write below {leaderboards} ({error.strerror}): free some space or get permission"
        ) from None
    return written


def read_reported(leaderboards: Path) -> list[Reported]:
    """The reported results in this folder, none where it has no such file."""
    path = leaderboards / PUBLISHED / FILE
    return read_published(path) if path.is_file() else []


def texts(boards: Sequence[Board], reported: Sequence[Reported], leaderboards: Path) -> dict[Path, str]:
    """What `build` writes as text: each file and its content."""
    found = {board.folder / TABLE: f"# {board.name}\n\n{board_markdown(board)}" for board in boards}
    found |= {board.folder / VALUES: board_csv(board) for board in boards}
    found |= {leaderboards / PUBLISHED / TABLE: reported_markdown(reported)} if reported else {}
    found[leaderboards / PAGE] = render(boards, reported)
    readme = leaderboards.parent / "README.md"
    if readme.is_file():
        try:
            found[readme] = with_tops(readme.read_bytes().decode(), boards, leaderboards)
        except UnicodeDecodeError:
            raise RbdmlError(f"{readme}: not in UTF-8: convert it") from None
    return found


def with_tops(text: str, boards: Sequence[Board], leaderboards: Path) -> str:
    """A README with the tops of boards between its marks."""
    named = {board.name: board for board in boards}

    def top(match: re.Match[str]) -> str:
        board = named.get(match["name"])
        if board is None:  # its last entry may have been withdrawn
            return f"{match[1]}No entry on board `{match['name']}` yet.\n{match[4]}"
        records = f"{leaderboards.name}/{board.dataset}/records"
        return f"{match[1]}{board_markdown(board, to_records=records, top=int(match['top']))}{match[4]}"

    return MARKED.sub(top, text)


def _generated(leaderboards: Path) -> set[Path]:
    """The generated files of all boards, by their names; records and histories are not looked into."""
    folders = [*leaderboards.glob("*/"), *leaderboards.glob("*/*-*-??????/")]
    found = {path for folder in folders for pattern in GENERATED for path in folder.glob(pattern)}
    return {path for path in found if not path.stem.endswith("-paper")}  # those are written when asked for
