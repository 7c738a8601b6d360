"""All changes are made, or none."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from submission_support import enter, snapshot

from robustbench_dml.leaderboard.entries import read_all, read_listed
from robustbench_dml.leaderboard.submission.transaction import Change, apply, history_note, move_to_history
from robustbench_dml.utils.errors import RbdmlError


def write(text: str) -> object:
    def fill(path: Path) -> None:
        path.mkdir()
        (path / "file").write_text(text)

    return fill


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "boards" / "a").mkdir(parents=True)
    (tmp_path / "boards" / "a" / "file").write_text("old")
    (tmp_path / "boards" / "c").mkdir()
    (tmp_path / "boards" / "c" / "file").write_text("goes")
    return tmp_path / "boards"


def changes(folder: Path) -> list[Change]:
    """One is replaced, one is made with the folders above it, one is removed, one is put where that was."""
    return [
        Change(folder / "a", write("new")),  # type: ignore[arg-type]
        Change(folder / "deep" / "deeper" / "b", write("made")),  # type: ignore[arg-type]
        Change(folder / "c", None),
        Change(folder / "c", write("again")),  # type: ignore[arg-type]
    ]


def test_they_are_made(folder: Path) -> None:
    apply(changes(folder), folder)
    found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("file")}
    assert found == {"a/file": "new", "deep/deeper/b/file": "made", "c/file": "again"}
    assert sorted(path.name for path in folder.iterdir()) == ["a", "c", "deep"]


@pytest.mark.parametrize("interruption", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("after", range(5))
def test_a_failure_at_any_rename_leaves_everything_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch, after: int, late: bool, interruption: BaseException
) -> None:
    """Before it, or right after."""
    before, rename, made = snapshot(folder), Path.rename, 0

    def fail(self: Path, target: Path) -> Path:
        nonlocal made
        made += 1
        if made == after + 1:
            if late:
                rename(self, target)
            raise interruption
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises((RbdmlError, KeyboardInterrupt)) as failed:
        apply(changes(folder), folder)
    assert made > after
    assert snapshot(folder) == before
    if isinstance(interruption, OSError):
        assert "No space left on device" in str(failed.value)
        assert "nothing was changed" in str(failed.value)


def test_a_failure_while_preparing_leaves_everything_as_it_was(folder: Path) -> None:
    def fail(path: Path) -> None:
        path.mkdir()
        raise PermissionError(errno.EACCES, "Permission denied")

    before = snapshot(folder)
    with pytest.raises(RbdmlError, match="Permission denied"):
        apply([*changes(folder), Change(folder / "x", fail)], folder)
    assert snapshot(folder) == before


def test_an_entry_goes_to_the_history_with_its_reason(board: Path, run: Path) -> None:
    folder = enter(board, run)
    listed = read_listed(folder)
    for again in range(2):
        apply(move_to_history(listed, board, history_note("withdrawn", "a bug in its sampler")), board)
        assert not folder.exists()
        enter(board, run)
        [*_, last] = read_all(board, "history")
        assert last.record == listed.record
        assert last.entry.ended is not None
        assert (last.entry.ended.how, last.entry.ended.why) == ("withdrawn", "a bug in its sampler")
        assert last.entry.by == listed.entry.by
        assert len(read_all(board, "history")) == again + 1
    names = [one.folder.name for one in read_all(board, "history")]
    weights = listed.record.provenance.weights[:16]
    assert names == [f"{run.name}-{weights}", f"{run.name}-{weights}-2"]


@pytest.mark.parametrize("why", ["", "  ", "two\nlines", "<b>no</b>", "x" * 201])
def test_a_reason_is_one_plain_line(why: str) -> None:
    with pytest.raises(RbdmlError, match="give one plain line for the history"):
        history_note("withdrawn", why)
