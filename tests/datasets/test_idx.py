from __future__ import annotations

import gzip
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import pixels

from robustbench_dml.datasets import idx
from robustbench_dml.datasets.idx import (
    FILES,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    format_idx,
    has_files,
    load_idx,
    parse_idx,
)
from robustbench_dml.utils.errors import RbdmlError

CONTENT = {
    TRAIN_IMAGES: format_idx(np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4)),
    TRAIN_LABELS: format_idx(np.array([7, 0, 7], dtype=np.uint8)),
    TEST_IMAGES: format_idx(np.arange(100, 116, dtype=np.uint8).reshape(2, 2, 4)),
    TEST_LABELS: format_idx(np.array([0, 7], dtype=np.uint8)),
}
HASHES = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
REMEDY = "from the shelf"


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The small set, gzipped."""
    for name, content in CONTENT.items():
        (tmp_path / f"{name}.gz").write_bytes(zipped(content))
    return tmp_path


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, max_side=6)))
def test_parse_is_the_inverse_of_format(array: np.ndarray) -> None:
    parsed = parse_idx(format_idx(array))
    assert parsed.dtype == torch.uint8
    assert parsed.shape == array.shape
    assert np.array_equal(parsed.numpy(), array)


@given(st.integers(1, 600), st.integers(1, 3))
def test_sizes_are_big_endian(images: int, side: int) -> None:
    pixels = bytes(i % 251 for i in range(images * side * side))
    content = struct.pack(">4B3I", 0, 0, 8, 3, images, side, side) + pixels
    parsed = parse_idx(content)
    assert parsed.shape == (images, side, side)
    assert parsed.numpy().tobytes() == pixels
    assert format_idx(parsed.numpy()) == content


@pytest.mark.parametrize("plain", [(), FILES, (TRAIN_IMAGES, TEST_LABELS)], ids=["gzipped", "plain", "mixed"])
def test_a_set_loads_from_plain_and_gzipped_files(folder: Path, plain: tuple[str, ...]) -> None:
    for name in plain:
        (folder / f"{name}.gz").unlink()
        (folder / name).write_bytes(CONTENT[name])
    dataset = load_idx("small", folder, HASHES, remedy=REMEDY)
    assert dataset.name == "small"
    assert dataset.hashes == HASHES
    assert dataset.image_shape == (1, 2, 4)
    assert torch.equal(pixels(dataset.train), torch.arange(24, dtype=torch.uint8).reshape(3, 1, 2, 4))
    assert torch.equal(dataset.train.labels, torch.tensor([7, 0, 7]))  # int64, as losses and indexing want it
    assert torch.equal(pixels(dataset.test), torch.arange(100, 116, dtype=torch.uint8).reshape(2, 1, 2, 4))
    assert torch.equal(dataset.test.labels, torch.tensor([0, 7]))


@pytest.mark.parametrize("name", FILES)
def test_a_gzip_file_cut_anywhere_is_refused(folder: Path, name: str) -> None:
    path = folder / f"{name}.gz"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(RbdmlError, match=f"{name}.*fresh copy of 'small' {REMEDY}"):
            load_idx("small", folder, HASHES, remedy=REMEDY)


def flips(content: bytes) -> list[bytes]:
    """The content with any one of its bits changed."""
    return [
        content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
        for place in range(len(content))
        for bit in range(8)
    ]


def test_a_gzip_file_with_a_changed_bit_is_refused_or_holds_the_same(folder: Path) -> None:
    path, refused = folder / f"{TEST_IMAGES}.gz", 0
    altered = flips(path.read_bytes())
    for content in altered:
        path.write_bytes(content)
        try:  # a bit of the time in the gzip header changes nothing
            dataset = load_idx("small", folder, HASHES, remedy=REMEDY)
        except RbdmlError as error:
            refused += 1
            assert TEST_IMAGES in str(error)
        else:
            assert format_idx(pixels(dataset.test).squeeze(1).numpy()) == CONTENT[TEST_IMAGES]
    assert refused > len(altered) / 2


def spoiled(content: bytes) -> list[bytes]:
    """Cut short, lengthened, and with each bit changed."""
    return [*(content[:length] for length in range(len(content))), content + b"\0", *flips(content)]


@pytest.mark.parametrize(("ending", "wrap"), [("", bytes), (".gz", zipped)], ids=["plain", "gzipped"])
def test_other_content_is_refused(folder: Path, ending: str, wrap: Callable[[bytes], bytes]) -> None:
    (folder / f"{TRAIN_LABELS}.gz").unlink()
    path = folder / f"{TRAIN_LABELS}{ending}"
    for content in spoiled(CONTENT[TRAIN_LABELS]):
        path.write_bytes(wrap(content))
        with pytest.raises(RbdmlError, match=f"{TRAIN_LABELS}.*SHA-256.*{REMEDY}"):
            load_idx("small", folder, HASHES, remedy=REMEDY)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    assert has_files(folder)
    (folder / f"{name}.gz").unlink()
    assert not has_files(folder)
    with pytest.raises(RbdmlError, match=f"{name}: no such file.*{REMEDY}"):
        load_idx("small", folder, HASHES, remedy=REMEDY)


def test_a_folder_of_that_name_is_no_file(folder: Path) -> None:
    (folder / f"{TEST_LABELS}.gz").unlink()
    (folder / TEST_LABELS).mkdir()
    assert not has_files(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x08\0",
        b"\0\0\x08\1",
        b"\0\0\x08\1\0\0\0\2a",
        b"\0\0\x08\1\0\0\0\2abc",
        b"\0\0\x0d\1\0\0\0\2ab",
        b"\0\0\x08\4" + b"\0\0\0\1" * 4 + b"a",
        b"\0\0\x08\xff" + b"\xff" * 1020,
        b"\0\0\x08\3" + b"\xff" * 12,
        b"\0\0\x08\3" + b"\xff" * 8 + b"\0" * 4,
    ],
)
def test_bytes_that_are_no_idx_file_are_refused(content: bytes) -> None:
    with pytest.raises(RbdmlError, match="not an IDX file of bytes"):
        parse_idx(content)


def test_no_more_is_expanded_than_a_file_has(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "MOST", 1000)
    (folder / f"{TRAIN_IMAGES}.gz").write_bytes(gzip.compress(bytes(10_000_000)))
    with pytest.raises(RbdmlError, match=r"images-idx3-ubyte\.gz: more than 1,000 bytes.*: get a fresh copy"):
        load_idx("fashion", folder, dict.fromkeys(FILES, "0" * 64), remedy="by hand")
