"""`rbdml leaderboard`: a true run on a board, built, checked, tampered with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from board_support import ENTRY
from cli_support import Made, rbdml, refusal

from robustbench_dml.leaderboard.entries import write_entry
from robustbench_dml.runs.record import QUERIES_FILE, RECORD_FILE


@pytest.fixture
def boards(made: Made, tmp_path: Path) -> Path:
    """A leaderboard with the one run that the tests share, built."""
    leaderboards = tmp_path / "leaderboards"
    folder = leaderboards / "glyphs-mini" / "records" / made.record.digest
    folder.mkdir(parents=True)
    for name in (RECORD_FILE, QUERIES_FILE):
        shutil.copy(made.folder / name, folder)
    write_entry(folder, ENTRY)
    assert rbdml("leaderboard", "build", "--boards", leaderboards).code == 0
    return leaderboards


def entry_of(boards: Path) -> Path:
    [folder] = (boards / "glyphs-mini" / "records").iterdir()
    return folder


def table_of(boards: Path) -> Path:
    """That of its one board, which is not the main one: one step is not the published attack."""
    [table] = boards.rglob("table.md")
    return table


def alter(boards: Path, change: dict[str, float], part: str = "attacked") -> None:
    path = entry_of(boards) / RECORD_FILE
    record = json.loads(path.read_text())
    record[part] |= {name: record[part][name] + by for name, by in change.items()}
    path.write_text(json.dumps(record))


def test_a_fresh_build_passes_the_check(boards: Path) -> None:
    answer = rbdml("leaderboard", "check", "--boards", boards)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[-1] == "1 entries, 1 boards, 0 problems"
    assert rbdml("leaderboard", "check", "--boards", boards, "--quiet").out == ""


def test_building_prints_its_files(boards: Path) -> None:
    answer = rbdml("leaderboard", "build", "--boards", boards)
    paths = [Path(line) for line in answer.out.splitlines()]
    assert boards / "index.html" in paths and table_of(boards) in paths
    assert all(path.is_file() for path in paths)
    assert rbdml("leaderboard", "build", "--boards", boards, "--quiet").out == ""


@pytest.mark.parametrize("column", ["CA+", "ES:R", "GTT"])
def test_a_tampered_column_is_found(boards: Path, column: str) -> None:
    alter(boards, {column: 5})
    answer = rbdml("leaderboard", "check", "--boards", boards)
    assert answer.code == 1
    assert f"{column}" in answer.err and answer.err.startswith("problem: ")


def test_every_problem_is_reported_and_none_hides_another(boards: Path) -> None:
    alter(boards, {"ES:R": 5})
    alter(boards, {"R@1": 5}, "benign")
    broken = boards / "glyphs-mini" / "records" / "0123456789abcdef"
    broken.mkdir()
    (broken / RECORD_FILE).write_text("{}")
    answer = rbdml("leaderboard", "check", "--boards", boards)
    assert answer.code == 1
    for name in ("ES:R", "R@1", str(broken)):
        assert name in answer.err


def test_a_table_that_is_not_of_the_entries_is_found(boards: Path) -> None:
    table = table_of(boards)
    table.write_text(table.read_text().replace("self-reported", "verified"))
    answer = rbdml("leaderboard", "check", "--boards", boards)
    assert answer.code == 1
    assert f"{table}: is not of these entries: run `rbdml leaderboard build`" in answer.err
    assert rbdml("leaderboard", "build", "--boards", boards).code == 0
    assert rbdml("leaderboard", "check", "--boards", boards).code == 0


def test_an_entry_that_is_withdrawn_stays_in_the_history(boards: Path, made: Made) -> None:
    answer = rbdml("leaderboard", "withdraw", made.record.digest, "--why", "a mistake", "--boards", boards)
    assert answer.code == 0, answer.err
    [kept] = (boards / "glyphs-mini" / "history").iterdir()
    assert str(kept) in answer.out
    ended = json.loads((kept / "entry.json").read_text())["ended"]
    assert (ended["how"], ended["why"]) == ("withdrawn", "a mistake")
    assert not list(boards.rglob("table.md"))
    answer = rbdml("leaderboard", "check", "--boards", boards)
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "0 entries, 0 boards, 0 problems")


def test_missing_boards_and_entries_are_named(tmp_path: Path, boards: Path) -> None:
    for command in (("build",), ("check",), ("withdraw", "0123", "--why", "none")):
        assert "no such folder" in refusal(rbdml("leaderboard", *command, "--boards", tmp_path / "none"))
    assert "0123" in refusal(rbdml("leaderboard", "withdraw", "0123", "--why", "none", "--boards", boards))


@pytest.mark.parametrize(
    ("option", "start"), [((), "glyphs-mini, c2f2"), (("--latex",), "% glyphs-mini, c2f2"), (("--csv",), "rank,")]
)
def test_a_board_is_printed_as_text_latex_or_csv(boards: Path, option: tuple[str, ...], start: str) -> None:
    answer = rbdml("table", "--boards", boards, *option)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(start)


def test_an_unknown_board_is_refused_with_the_known_ones(boards: Path) -> None:
    answer = rbdml("table", "glyphs-min", "--boards", boards)
    assert "did you mean 'glyphs-mini-c2f2" in refusal(answer)
