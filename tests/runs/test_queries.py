"""Files of per-query values as somebody hostile would write them."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robustbench_dml.runs import queries as npz
from robustbench_dml.runs.queries import load_values
from robustbench_dml.runs.record import QUERIES_FILE, write_queries
from robustbench_dml.utils.errors import RbdmlError

Q = 40


def honest() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"query": np.arange(Q), "R@1": rng.random(Q), "AR:Q stage": rng.random(Q), "SPQA- M=5": rng.random(Q)}


def array(values: np.ndarray, *, version: tuple[int, int] = (1, 0)) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, values, version=version, allow_pickle=True)
    return buffer.getvalue()


def packed(path: Path, members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members:
            file.writestr(name, data)


def lying_header(count: int) -> bytes:
    """An array that says it has so many numbers."""
    return header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({count},), }}\n")


def header(text: str) -> bytes:
    """An array of nothing but its header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def test_what_an_evaluation_writes_is_read_as_numpy_reads_it(tmp_path: Path) -> None:
    write_queries(tmp_path, honest())
    found = load_values(tmp_path / QUERIES_FILE, most=Q)
    with np.load(tmp_path / QUERIES_FILE) as expected:
        assert list(found) == list(expected)
        for name, values in found.items():
            assert np.array_equal(values, expected[name])
            assert values.dtype == expected[name].dtype


FIRST = ("query.npy", array(np.arange(Q)))
HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bomb": (
        lambda path: packed(path, [FIRST, ("R@1.npy", array(np.zeros(10_000_000)))]),
        "R@1.npy unpacks to 80000128 bytes, more than 40 queries take",
    ),
    "objects": (
        lambda path: packed(path, [FIRST, ("R@1.npy", array(np.array([{}] * Q, dtype=object)))]),
        "cannot be read as arrays .Object arrays cannot be loaded",
    ),
    "text": (lambda path: packed(path, [("query.npy", array(np.array(["a"] * Q)))]), "query.npy is <U1"),
    "a record array": (
        lambda path: packed(path, [("query.npy", array(np.zeros(Q, dtype=[("a", "<i8")])))]),
        "query.npy is .V8",
    ),
    "a matrix": (lambda path: packed(path, [("query.npy", array(np.zeros((4, 10))))]), r"query.npy is <f8 \(4, 10\)"),
    "more queries than images": (
        lambda path: packed(path, [("query.npy", array(np.zeros(Q + 1)))]),
        r"query.npy is <f8 \(41,\)",
    ),
    "a header that is no dictionary of names": (
        lambda path: packed(path, [("query.npy", header("{[]: 1}\n"))]),
        "cannot be read as arrays",
    ),
    "a header with numbers for names": (
        lambda path: packed(path, [("query.npy", header("{1: 2, 'descr': 3}\n"))]),
        "cannot be read as arrays",
    ),
    "a shape that is a lie": (lambda path: packed(path, [("query.npy", lying_header(Q))]), "cannot be read as arrays"),
    "a shape of terabytes": (
        lambda path: packed(path, [("query.npy", lying_header(10**13))]),
        "cannot be read as arrays",
    ),
    "other lengths": (lambda path: packed(path, [FIRST, ("R@1.npy", array(np.zeros(3)))]), "arrays of .3, 40. values"),
    "no queries": (lambda path: packed(path, [("query.npy", array(np.zeros(0)))]), "arrays of .0. values"),
    "nothing": (lambda path: packed(path, []), "arrays of .. values"),
    "a path": (lambda path: packed(path, [FIRST, ("../../x.npy", array(np.zeros(Q)))]), "no name of a column"),
    "a script": (lambda path: packed(path, [("run.py", b"print()")]), "'run.py', which is no name of a column"),
    "too many": (
        lambda path: packed(path, [(f"c{i}.npy", array(np.zeros(Q))) for i in range(101)]),
        "101 arrays, or two of one name",
    ),
    "another packing": (lambda path: packed(path, [FIRST], zipfile.ZIP_LZMA), "encrypted or packed in another way"),
    "no archive": (lambda path: path.write_bytes(b"PK" + bytes(100)), "cannot be read as arrays"),
    "an array alone": (lambda path: path.write_bytes(array(np.arange(Q))), "cannot be read as arrays"),
    "no file": (lambda path: None, "no per-query values"),
}


@pytest.mark.parametrize(("write", "message"), HOSTILE.values(), ids=HOSTILE)
def test_what_no_evaluation_writes_is_refused(tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
    write(tmp_path / "values.npz")
    with pytest.raises(RbdmlError, match=message):
        load_values(tmp_path / "values.npz", most=Q)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    packed(tmp_path / "values.npz", [FIRST, FIRST])
    with pytest.raises(RbdmlError, match="two of one name"):
        load_values(tmp_path / "values.npz", most=Q)


def test_a_truncated_or_damaged_file_is_refused(tmp_path: Path) -> None:
    write_queries(tmp_path, honest())
    path = tmp_path / QUERIES_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RbdmlError, match="cannot be read as arrays"):
        load_values(path, most=Q)
    start = whole.index(b"R@1.npy") + 60
    path.write_bytes(whole[:start] + bytes(20) + whole[start + 20 :])
    with pytest.raises(RbdmlError, match="cannot be read as arrays"):
        load_values(path, most=Q)


def test_a_file_larger_than_any_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "values.npz"
    with path.open("wb") as file:
        file.truncate(npz.MAX_BYTES + 1)
    monkeypatch.setattr(npz, "ZipFile", None)
    with pytest.raises(RbdmlError, match="larger than 20000000 bytes"):
        load_values(path, most=Q, largest=npz.MAX_BYTES)


def test_pickled_objects_run_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "ran"

    class Hostile:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return Path.touch, (trace,)

    packed(tmp_path / "values.npz", [("query.npy", array(np.array([Hostile()], dtype=object)))])
    with pytest.raises(RbdmlError, match="Object arrays cannot be loaded"):
        load_values(tmp_path / "values.npz", most=Q)
    assert not trace.exists()


def test_many_arrays_that_are_too_much_together_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed(tmp_path / "values.npz", [(f"c{i}.npy", array(np.zeros(Q))) for i in range(20)])
    assert len(load_values(tmp_path / "values.npz")) == 20
    monkeypatch.setattr(npz, "UNPACKED", 20 * 8 * Q)
    with pytest.raises(RbdmlError, match="unpacks to 8960 bytes"):
        load_values(tmp_path / "values.npz", largest=10**6)


def test_a_device_is_no_file_of_values(tmp_path: Path) -> None:
    (tmp_path / "values.npz").symlink_to("/dev/zero")
    with pytest.raises(RbdmlError, match=r"no per-query values \(not a plain file\)"):
        load_values(tmp_path / "values.npz")
