"""What is taken in, and what never is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from submission_support import copied, edit

from robustbench_dml.leaderboard.submission import intake
from robustbench_dml.leaderboard.submission.intake import take_in
from robustbench_dml.runs.record import CHECKPOINT_FILE, QUERIES_FILE, RECORD_FILE, read_record
from robustbench_dml.utils.errors import RbdmlError


@pytest.fixture
def private(tmp_path: Path) -> Path:
    folder = tmp_path / "private"
    folder.mkdir()
    return folder


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return copied(run, tmp_path / "given")


def test_a_folder_and_its_record_file_are_the_same_submission(copy: Path, private: Path) -> None:
    (private / "other").mkdir()
    for given, to in ((copy, private), (copy / RECORD_FILE, private / "other")):
        [found] = take_in(given, to)
        assert found.record == read_record(copy)
        assert found.source == copy
        assert found.checkpoint == copy / CHECKPOINT_FILE
        assert sorted(path.name for path in found.folder.iterdir()) == [QUERIES_FILE, RECORD_FILE]
        for name in (QUERIES_FILE, RECORD_FILE):
            assert (found.folder / name).read_bytes() == (copy / name).read_bytes()
        assert found.with_source(f"{found.folder}/x") == f"{copy}/x"


def test_all_records_below_a_folder_but_for_unfinished_ones(
    runs: Path, run: Path, tmp_path: Path, private: Path
) -> None:
    given = tmp_path / "runs"
    shutil.copytree(runs, given / "glyphs-mini")
    shutil.copytree(run, given / "glyphs-mini" / ".unfinished.part")
    assert {one.record.spec.seed for one in take_in(given, private)} == {0, 1}


def test_a_checkpoint_elsewhere_and_none(copy: Path, private: Path, tmp_path: Path) -> None:
    elsewhere = (copy / CHECKPOINT_FILE).rename(tmp_path / "weights.safetensors")
    (private / "a").mkdir()
    (private / "b").mkdir()
    assert take_in(copy, private / "a")[0].checkpoint is None
    assert take_in(copy, private / "b", elsewhere)[0].checkpoint == elsewhere


def test_one_checkpoint_is_not_of_several_records(runs: Path, private: Path, tmp_path: Path) -> None:
    with pytest.raises(RbdmlError, match=r"--checkpoint is of one record, and .* has 2"):
        take_in(runs, private, tmp_path / "x")


def linked(name: str) -> Callable[[Path], object]:
    def change(copy: Path) -> None:
        outside = (copy / name).rename(copy.parents[1] / f"outside-{name}")
        (copy / name).symlink_to(outside)

    return change


def sparse(name: str, size: int) -> Callable[[Path], object]:
    def change(copy: Path) -> None:
        with (copy / name).open("wb") as file:
            file.truncate(size)

    return change


def dangling(copy: Path) -> None:
    (copy / CHECKPOINT_FILE).unlink()
    (copy / CHECKPOINT_FILE).symlink_to("/nowhere")


def pipe(copy: Path) -> None:
    (copy / RECORD_FILE).unlink()
    os.mkfifo(copy / RECORD_FILE)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link to a record": (linked(RECORD_FILE), f"{RECORD_FILE}: a symbolic link"),
    "a link to values": (linked(QUERIES_FILE), f"{QUERIES_FILE}: a symbolic link"),
    "a link to a checkpoint": (linked(CHECKPOINT_FILE), f"{CHECKPOINT_FILE}: a symbolic link"),
    "a link to nothing": (
        dangling,
        f"{CHECKPOINT_FILE}: a symbolic link",
    ),
    "a linked folder": (lambda copy: (copy / "more").symlink_to("/tmp"), "more: a symbolic link"),
    "1 GB of JSON": (sparse(RECORD_FILE, 10**9), f"{RECORD_FILE}: larger than 1000000 bytes"),
    "1 GB of values": (sparse(QUERIES_FILE, 10**9), f"{QUERIES_FILE}: larger than 20000000 bytes"),
    "a TB of weights": (sparse(CHECKPOINT_FILE, 10**12), f"{CHECKPOINT_FILE}: larger than 4000000000 bytes"),
    "a pipe": (
        pipe,
        f"{RECORD_FILE}: no plain file",
    ),
    "no values": (lambda copy: (copy / QUERIES_FILE).unlink(), f"{QUERIES_FILE}: no file of per-query values there"),
    "no record": (lambda copy: (copy / RECORD_FILE).unlink(), f"no {RECORD_FILE} in it or below"),
    "an older schema": (
        lambda copy: edit(copy, lambda data: data.update(version=1)),
        "version 1 of records, and this package reads 2: remove its folder and run again, or evaluate its checkpoint",
    ),
    "NaN": (
        lambda copy: (copy / RECORD_FILE).write_text(
            (copy / RECORD_FILE).read_text().replace('"TMA": 0.', '"TMA": NaN, "x": 0.')
        ),
        "not a valid record",
    ),
    "no JSON": (lambda copy: (copy / RECORD_FILE).write_text("{" * 100_000), "not a valid record"),
    "another spec than its digest's": (
        lambda copy: edit(copy, lambda data: data["spec"].update(seed=7)),
        "its digest is not that of its spec: it was altered",
    ),
    "an unknown field": (
        lambda copy: edit(copy, lambda data: data.update(onload="alert(1)")),
        "not a valid record: onload",
    ),
}


@pytest.mark.parametrize(("change", "message"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_submission_is_refused_by_the_name_of_its_file(
    copy: Path, private: Path, change: Callable[[Path], object], message: str
) -> None:
    change(copy)
    with pytest.raises(RbdmlError, match=message) as refused:
        take_in(copy, private)
    assert str(copy) in str(refused.value)
    assert str(private) not in str(refused.value)


def test_no_record_at_all(tmp_path: Path, private: Path) -> None:
    with pytest.raises(RbdmlError, match="no such folder or record"):
        take_in(tmp_path / "absent", private)


def test_more_records_than_are_taken_at_once(runs: Path, private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "RECORDS", 1)
    with pytest.raises(RbdmlError, match="2 records, and at most 1 are taken at once"):
        take_in(runs, private)
    monkeypatch.setattr(intake, "VISITED", 3)
    with pytest.raises(RbdmlError, match="more than 3 files"):
        take_in(runs, private)
