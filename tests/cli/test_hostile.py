"""Hostile files among the records cost no memory and do not steer the terminal."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from board_support import enter, made_record, made_spec, made_values, write_run
from cli_support import rbdml, refusal

from robustbench_dml.runs.record import QUERIES_FILE, RECORD_FILE, write_record
from robustbench_dml.utils.files import sha256

STEERING = "\x1b[2J\x9b31m"


def boards_with(folder: Path) -> tuple[Path, Path]:
    """A leaderboard, and the folder of its one entry."""
    spec = made_spec()
    return folder, enter(folder, made_record(spec, made_values(spec)), made_values(spec))


def blow_up(folder: Path) -> None:
    """Let the record in this folder have values of 8 MB, which take a thousandth of it on disk."""
    with zipfile.ZipFile(folder / QUERIES_FILE, "w", zipfile.ZIP_DEFLATED) as file, file.open("R@1.npy", "w") as array:
        header = {"descr": "<f8", "fortran_order": False, "shape": (1_000_000,)}
        np.lib.format.write_array_header_1_0(array, header)
        array.write(bytes(8_000_000))
    spec = made_spec()
    record = made_record(spec, made_values(spec))
    hashed = record.provenance.model_copy(update={"queries": sha256(folder / QUERIES_FILE)})
    write_record(folder, record.model_copy(update={"provenance": hashed}))


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read out of any array, and 8 MB are too much."""

    def fail(*_: object) -> None:
        raise AssertionError("was unpacked")

    monkeypatch.setattr("robustbench_dml.runs.queries._read", fail)
    monkeypatch.setattr(np, "load", fail)
    monkeypatch.setattr("robustbench_dml.runs.queries.UNPACKED", 1_000_000)


@pytest.mark.usefixtures("no_reading")
def test_a_bomb_among_the_records_is_not_unpacked(tmp_path: Path) -> None:
    boards, entry = boards_with(tmp_path / "leaderboards")
    blow_up(entry)
    assert rbdml("leaderboard", "build", "--boards", boards).code == 0
    assert "unpacks to 8000128 bytes" in refusal(rbdml("compare", entry, entry))
    assert rbdml("plot", "--records", entry, "--out", tmp_path / "plots").code == 0


def test_a_device_among_the_records_is_not_read(tmp_path: Path) -> None:
    boards, entry = boards_with(tmp_path / "leaderboards")
    (entry / QUERIES_FILE).unlink()
    (entry / QUERIES_FILE).symlink_to("/dev/zero")
    assert "not a plain file" in refusal(rbdml("compare", entry, entry))
    (entry / RECORD_FILE).unlink()
    (entry / RECORD_FILE).symlink_to("/dev/zero")
    assert "not a plain file" in refusal(rbdml("plot", "--records", boards))
    answer = rbdml("leaderboard", "check", "--boards", boards)
    assert (answer.code, "not a plain file" in answer.err) == (1, True)


def printable(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def test_names_do_not_steer_the_terminal_in_a_check(tmp_path: Path) -> None:
    boards, entry = boards_with(tmp_path / "leaderboards")
    (entry / f"{STEERING}.txt").touch()
    answer = rbdml("leaderboard", "check", "--boards", boards)
    assert answer.code == 1
    assert "\\u001b[2J\\u009b31m.txt does not belong to an entry" in answer.err
    assert printable(answer.err) and printable(answer.out)


def test_names_do_not_steer_the_terminal_in_tables(tmp_path: Path) -> None:
    spec = made_spec().model_copy(update={"defense": STEERING})
    folder = tmp_path / spec.digest
    write_run(folder, made_record(spec, made_values(spec)), made_values(spec))
    answer = rbdml("compare", folder, folder)
    assert answer.code == 0, answer.err
    assert "A: \\u001b[2J\\u009b31m" in answer.out
    assert printable(answer.out)


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--dataset", "glyphs-mini", "--defense", f"{'a' * 300}.py:x"),
        ("run", "--dataset", "glyphs-mini", "--defense", "regular", "--weights", "a" * 300),
        ("run", "--dataset", f"folder:{'a' * 300}", "--defense", "regular"),
        ("evaluate", "a" * 300),
        ("plot", "--records", "a" * 300),
        ("compare", "a" * 300, "a" * 300),
        ("submit", "a" * 300),
        ("sweep", "run", "a" * 300),
    ],
    ids=" ".join,
)
def test_impossible_file_names_are_refused_in_one_line(arguments: tuple[str, ...]) -> None:
    refusal(rbdml(*arguments))


def test_a_name_with_a_zero_byte_is_no_file(tmp_path: Path) -> None:
    assert "no such Python file" in refusal(
        rbdml("run", "--dataset", "glyphs-mini", "--defense", "a\0b.py:x", "--out", tmp_path)
    )
