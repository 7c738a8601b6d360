"""What is generated is of the entries, and stays as it is without new ones."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from board_support import enter_made, made_spec, make_leaderboards

from robustbench_dml.leaderboard.board import read_boards
from robustbench_dml.leaderboard.build import build, redraw_boards, redraw_published, with_tops
from robustbench_dml.leaderboard.tables import board_csv, board_markdown
from robustbench_dml.report.published import FILE, read_published
from robustbench_dml.utils.errors import RbdmlError

pytestmark = pytest.mark.usefixtures("described_figures")

README = "# A project\n\n<!-- board glyphs-mini 2 -->\nold\n<!-- end of board -->\n\nend\n"


@pytest.fixture
def leaderboards(tmp_path: Path) -> Path:
    return make_leaderboards(tmp_path)


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Every file below a folder: its bytes and when it was written."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_everything_is_written_and_again_changes_no_byte(leaderboards: Path) -> None:
    readme = leaderboards.parent / "README.md"
    readme.write_text(README)
    written = build(leaderboards)
    assert len(set(written)) == len(written) and all(path.is_file() for path in written)
    main, other = read_boards(leaderboards)
    for board in (main, other):
        assert board_markdown(board) in (board.folder / "table.md").read_text()
        assert (board.folder / "table.csv").read_text() == board_csv(board)
        for name in ("overview", "efficiency", "tradeoff", "profile"):
            assert (board.folder / f"{name}.png").is_file() and (board.folder / f"{name}.svg").is_file()
    assert (leaderboards / "index.html").is_file()
    text = readme.read_text()
    assert text.startswith("# A project\n") and text.endswith("<!-- end of board -->\n\nend\n") and "old" not in text
    assert "hm-lga-ics" in text and "madry" not in text  # the first two rows
    before = {path: data for path, (data, _) in contents(leaderboards.parent).items()}
    assert build(leaderboards) == written
    assert {path: data for path, (data, _) in contents(leaderboards.parent).items()} == before


def test_texts_that_are_the_same_are_not_even_touched(leaderboards: Path) -> None:
    build(leaderboards)
    before = contents(leaderboards)
    build(leaderboards)
    after = contents(leaderboards)
    assert {path: after[path] for path in after if path.suffix in (".md", ".csv", ".html", ".json")} == {
        path: before[path] for path in before if path.suffix in (".md", ".csv", ".html", ".json")
    }


def test_what_belongs_to_no_board_any_more_is_removed(leaderboards: Path) -> None:
    build(leaderboards)
    other = read_boards(leaderboards)[1]
    [record] = [record for row in other.rows for record in row.records]
    own = leaderboards / "glyphs-mini" / "efficiency-paper.pdf"  # drawn when asked for
    own.touch()
    shutil.rmtree(other.listed[record.digest].folder)
    build(leaderboards)
    assert not list(other.folder.glob("*")) and own.is_file()
    assert (leaderboards / "glyphs-mini" / "table.md").is_file()


def test_the_reported_layer_is_in_a_folder_of_its_own(leaderboards: Path) -> None:
    published = leaderboards / "published"
    published.mkdir()
    source = Path(__file__).parents[2] / "leaderboards" / "published" / "published.csv"
    shutil.copy(source, published)
    build(leaderboards)
    text = (published / "table.md").read_text()
    assert text.count("\n|") == len(read_published()) + 2 * text.count("\n## ")
    assert list(published.glob("*.svg"))
    for board in read_boards(leaderboards):
        assert "HM[S" not in (board.folder / "table.md").read_text()


def test_a_readme_that_marks_no_board_stays_as_it_is(leaderboards: Path) -> None:
    assert with_tops("nothing", read_boards(leaderboards)) == "nothing"
    text = with_tops(README.replace("glyphs-mini", "sop"), read_boards(leaderboards))
    assert "<!-- board sop 2 -->\nNo entry on board `sop` yet.\n<!-- end of board -->" in text


def test_an_empty_leaderboard_has_a_page(tmp_path: Path) -> None:
    assert [path.name for path in build(tmp_path)] == ["index.html"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_no_permission_is_told(leaderboards: Path) -> None:
    (leaderboards / "glyphs-mini").chmod(0o555)
    with pytest.raises(RbdmlError, match="cannot write below"):
        build(leaderboards)


def test_a_new_entry_changes_its_own_board_alone(leaderboards: Path) -> None:
    build(leaderboards)
    before = contents(leaderboards)
    enter_made(leaderboards, made_spec("est", seed=1, evaluation={"steps": 64}))
    build(leaderboards)
    changed = {path for path, (data, _) in contents(leaderboards).items() if before.get(path, (b"", 0))[0] != data}
    other = read_boards(leaderboards)[1]
    assert {path.parent for path in changed if path.suffix in (".md", ".png", ".svg")} == {other.folder}


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
