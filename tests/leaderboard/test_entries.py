"""Entries are read as written, and refused by name where they are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from board_support import ENTRY, enter_made, made_spec, make_leaderboards

from robustbench_dml.leaderboard import entries
from robustbench_dml.leaderboard.entries import (
    ENTRY_FILE,
    Entry,
    Verification,
    entry_folders,
    find_entry,
    find_leaderboards,
    read_all,
    read_entry,
    read_listed,
    write_entry,
)
from robustbench_dml.utils.errors import RbdmlError


def test_an_entry_comes_back_as_it_was(tmp_path: Path, verification: Verification) -> None:
    entry = ENTRY.model_copy(update={"verification": verification, "declared_passes": 5e6})
    write_entry(tmp_path, entry)
    assert read_entry(tmp_path) == entry


def test_it_is_verified_once_it_was_evaluated_again(verification: Verification) -> None:
    assert ENTRY.status == "self-reported"
    assert ENTRY.model_copy(update={"verification": verification}).status == "verified"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("by", "two\nlines"),
        ("by", "x" * 201),
        ("by", "\x1b[31mred"),
        ("checkpoint", "javascript:alert(1)"),
        ("checkpoint", "https://example.org/<script>"),
        ("declared_passes", -1.0),
        ("declared_passes", float("nan")),
        ("version", 2),
        ("unknown", "field"),
    ],
)
def test_what_is_no_entry_is_named(field: str, value: Any, tmp_path: Path) -> None:
    written = {**ENTRY.model_dump(), field: value}
    (tmp_path / ENTRY_FILE).write_text(json.dumps(written))
    with pytest.raises(RbdmlError, match=rf"entry\.json: not a valid entry: {field}"):
        read_entry(tmp_path)


def test_a_huge_entry_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / ENTRY_FILE).open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(RbdmlError, match="larger than"):
        read_entry(tmp_path)


def test_a_missing_entry_is_named(tmp_path: Path) -> None:
    with pytest.raises(RbdmlError, match="made by `rbdml submit`"):
        read_entry(tmp_path)


def test_flags_of_the_second_evaluation_count(tmp_path: Path, verification: Verification) -> None:
    spec = made_spec("act")
    entry = ENTRY.model_copy(update={"verification": verification})
    enter_made(tmp_path, spec, entry=entry, flags=["loss not level", "random"], disqualifying=["random"])
    [listed] = read_all(tmp_path)
    assert listed.record.flags == ["loss not level", "random"]
    assert listed.judged.flags == ["loss not level", "random", "no gradient"]
    assert listed.judged.disqualifying == ["random", "no gradient"]
    assert listed.judged.values == listed.record.values


def test_all_entries_are_found_and_nothing_else(tmp_path: Path) -> None:
    leaderboards = make_leaderboards(tmp_path)
    folders = entry_folders(leaderboards)
    unfinished = leaderboards / "glyphs-mini" / "records" / ".unfinished"
    folders[0].rename(unfinished)
    (leaderboards / "glyphs-mini" / "table.md").touch()
    assert entry_folders(leaderboards) == folders[1:]
    assert [read_listed(folder).record.digest for folder in folders[1:]] == [folder.name for folder in folders[1:]]
    assert entry_folders(leaderboards, "history") == []


def test_the_schema_is_strict() -> None:
    assert Entry.model_config["extra"] == "forbid" and Entry.model_config["strict"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with leaderboards, as where the package is from; the current folder is another, empty one."""
    folder = tmp_path / "checkout"
    (folder / "leaderboards").mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(entries, "CHECKOUT", folder)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


def test_the_given_folder_comes_first(checkout: Path, tmp_path: Path) -> None:
    Path("leaderboards").mkdir()
    assert find_leaderboards(tmp_path) == tmp_path


def test_the_current_folder_comes_before_the_checkout(checkout: Path) -> None:
    assert find_leaderboards() == checkout / "leaderboards"
    Path("leaderboards").mkdir()
    assert find_leaderboards() == Path("leaderboards")


def test_a_given_folder_that_is_missing_is_refused_by_name(checkout: Path) -> None:
    with pytest.raises(RbdmlError, match=r"^gone: no such folder: .*--boards"):
        find_leaderboards(Path("gone"))


def test_an_installed_package_is_no_checkout(checkout: Path) -> None:
    (checkout / "pyproject.toml").unlink()
    with pytest.raises(RbdmlError, match="--boards"):
        find_leaderboards()


def test_this_project_is_a_checkout() -> None:
    assert (entries.CHECKOUT / "leaderboards" / "published" / "published.csv").is_file()


def test_a_digest_names_an_entry_of_the_boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "leaderboards" / "fashion" / "records" / ("0a" * 8)
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert find_entry(Path("0a" * 8)) == folder.relative_to(tmp_path)
    others = [Path("0b" * 8), Path("runs/0a"), tmp_path]
    assert [find_entry(path) for path in others] == others
