"""`rbdml plot` on boards and reported results; on runs, see test_running."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from board_support import make_leaderboards
from cli_support import PLOTS, files_below, nothing_below, rbdml, refusal

from robustbench_dml.leaderboard import build, entries
from robustbench_dml.leaderboard.board import read_boards

pytestmark = pytest.mark.usefixtures("described_figures")

PUBLISHED = Path(__file__).parents[2] / "leaderboards" / "published"


@pytest.fixture
def leaderboards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made ones in the current folder."""
    folder = make_leaderboards(tmp_path)
    monkeypatch.chdir(tmp_path)
    return folder


def test_without_options_the_boards_of_the_current_folder_are_drawn(leaderboards: Path) -> None:
    answer = rbdml("plot")
    boards = [board.folder.relative_to(leaderboards.parent) for board in read_boards(leaderboards)]
    assert answer.out.splitlines() == [str(folder / name) for folder in boards for name in PLOTS]
    assert (answer.code, answer.err) == (0, "")
    before = {path: path.stat().st_mtime_ns for path in files_below(leaderboards)}
    assert rbdml("plot", "--boards", leaderboards, "--quiet").out == ""
    assert {path: path.stat().st_mtime_ns for path in files_below(leaderboards)} == before


def test_paper_figures_lie_beside_the_others(leaderboards: Path) -> None:
    rbdml("plot", "--out", "drawn")
    rbdml("plot", "--out", "drawn", "--style", "paper")
    names = {path.name for path in Path("drawn", "glyphs-mini").iterdir()}
    stems = {name.partition(".")[0] for name in PLOTS}
    assert names == {*PLOTS, *(f"{stem}-paper.{kind}" for stem in stems for kind in ("svg", "pdf"))}


def test_reported_results_are_drawn_beside_their_file(leaderboards: Path) -> None:
    shutil.copytree(PUBLISHED, leaderboards / "published", ignore=shutil.ignore_patterns("*.png", "*.svg"))
    answer = rbdml("plot", "--published")
    assert "leaderboards/published/cub-efficiency.svg" in answer.out.splitlines()
    assert "leaderboards/published/cub-tradeoff.png" in answer.out.splitlines()
    assert all(Path(line).is_file() for line in answer.out.splitlines())


@pytest.mark.parametrize("other", [("--published",), ("--boards", "leaderboards")])
def test_runs_and_boards_are_not_drawn_at_once(leaderboards: Path, other: tuple[str, ...]) -> None:
    assert "give one of them" in refusal(rbdml("plot", "--records", leaderboards, *other))


@pytest.mark.parametrize("options", [(), ("--published",)])
def test_the_boards_of_an_installed_package_are_drawn_into_the_current_folder(
    options: tuple[str, ...], leaderboards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(PUBLISHED, leaderboards / "published", ignore=shutil.ignore_patterns("*.png", "*.svg"))
    here = tmp_path / "new"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(entries, "CHECKOUT", here)
    for module in (entries, build):
        monkeypatch.setattr(module, "INSTALLED", leaderboards)
    before = files_below(leaderboards)
    answer = rbdml("plot", *options)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out and all(Path(line).is_file() for line in answer.out.splitlines())
    assert {here / line for line in answer.out.splitlines()} == set(files_below(here))
    assert files_below(leaderboards) == before


def test_outside_of_a_checkout_the_boards_have_to_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(entries, "CHECKOUT", tmp_path)
    monkeypatch.setattr(entries, "INSTALLED", tmp_path)
    assert "--boards" in refusal(rbdml("plot"))
    assert "none: no such folder" in refusal(rbdml("plot", "--boards", "none"))
    assert nothing_below(tmp_path)


def test_an_entry_that_cannot_be_read_is_named_and_nothing_is_drawn(leaderboards: Path) -> None:
    [broken, *_] = sorted(leaderboards.glob("*/records/*/record.json"))
    broken.write_text("{}")
    before = files_below(leaderboards)
    assert str(broken.relative_to(leaderboards.parent)) in refusal(rbdml("plot"))
    assert files_below(leaderboards) == before
