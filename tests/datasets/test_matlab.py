"""Annotations of Cars-196 that would end this process if it read them itself."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from image_trees import Row, write_annotations

from robustbench_dml.datasets.matlab import read_pairs
from robustbench_dml.utils.errors import RbdmlError

ROWS: list[Row] = [{"name": f"{number}.jpg", "class": 97 + number} for number in range(4)]


def pairs(path: Path) -> list[tuple[str, int]]:
    return read_pairs(path, "annotations", text="name", number="class", what="a list of cars")


def test_two_fields_of_a_struct_array_are_read(tmp_path: Path) -> None:
    write_annotations(tmp_path / "a.mat", ROWS)
    assert pairs(tmp_path / "a.mat") == [("0.jpg", 97), ("1.jpg", 98), ("2.jpg", 99), ("3.jpg", 100)]


def test_a_byte_that_crashes_the_reader_is_a_damaged_file(tmp_path: Path) -> None:
    """With this one scipy 1.17 reads from an address that is none."""
    path = tmp_path / "a.mat"
    write_annotations(path, [{"relative_im_path": f"car_ims/{number}.jpg", "class": 97} for number in range(4)])
    data = bytearray(path.read_bytes())
    assert data[276] == 8
    data[276] = 1
    path.write_bytes(data)
    with pytest.raises(RbdmlError, match=r"/a\.mat: not a list of cars \(.+\): get a fresh copy"):
        pairs(path)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (subprocess.CompletedProcess([], -11, b"", b""), "it crashes its reader"),
        (subprocess.CompletedProcess([], 0, b'"KeyError"', b""), "KeyError"),
        (subprocess.CompletedProcess([], 0, b"[[", b""), "JSONDecodeError"),
        (subprocess.TimeoutExpired([], 1), "TimeoutExpired"),
        (OSError("no memory for a process"), "OSError"),
    ],
    ids=["a crash", "an exception", "half an answer", "no end", "no process"],
)
def test_every_failure_of_the_reader_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any, reason: str
) -> None:
    def run(*_: Any, **__: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    (tmp_path / "a.mat").touch()
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(RbdmlError, match=rf"/a\.mat: not a list of cars \({reason}\): get a fresh copy"):
        pairs(tmp_path / "a.mat")
