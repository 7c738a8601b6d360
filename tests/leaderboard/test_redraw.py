from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from board_support import make_leaderboards

from robustbench_dml.leaderboard.board import read_boards
from robustbench_dml.leaderboard.redraw import redraw_boards, redraw_published
from robustbench_dml.report.published import FILE
from robustbench_dml.utils.errors import RbdmlError

PUBLISHED = Path(__file__).parents[2] / "leaderboards" / "published" / FILE


def test_all_boards_are_drawn_into_their_folders_or_elsewhere(tmp_path: Path) -> None:
    leaderboards = make_leaderboards(tmp_path)
    before = sorted(path for path in leaderboards.rglob("*") if path.is_file())
    boards = read_boards(leaderboards)
    assert len(boards) == 2
    elsewhere = redraw_boards(leaderboards, tmp_path / "out", "paper")
    assert {path.parent for path in elsewhere} == {tmp_path / "out" / board.name for board in boards}
    assert sorted(path for path in leaderboards.rglob("*") if path.is_file()) == before
    assert {path.parent for path in redraw_boards(leaderboards, None, "screen")} == {board.folder for board in boards}


def test_boards_without_entries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RbdmlError, match=r"no entries below .*--records"):
        redraw_boards(tmp_path, None, "screen")


def test_reported_results_are_drawn_beside_their_file_or_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "published").mkdir()
    shutil.copy(PUBLISHED, tmp_path / "published")
    for out in (None, tmp_path / "out"):
        paths = redraw_published(tmp_path, out, "screen")
        assert {path.parent for path in paths} == {out or tmp_path / "published"}
        assert all(path.is_file() for path in paths)


def test_leaderboards_without_reported_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RbdmlError, match=r"published\.csv: cannot be read"):
        redraw_published(tmp_path, None, "screen")
