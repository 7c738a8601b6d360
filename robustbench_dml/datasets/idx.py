"""The IDX files of MNIST and its relatives, checked by hash before anything is read from them."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robustbench_dml.datasets.base import Dataset, Split
from robustbench_dml.errors import RbdmlError

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)


def has_files(folder: Path) -> bool:
    """Whether the four files are there, each plain or with .gz."""
    return all(_find(folder, name) is not None for name in FILES)


def load_idx(name: str, folder: Path, hashes: Mapping[str, str], *, remedy: str) -> Dataset:
    """Read a data set of four IDX files.

    Args:
        name: of the data set.
        folder: where the files are, each plain or with .gz.
        hashes: SHA-256 of the uncompressed content of each file.
        remedy: what to do about a bad file, for the error message.

    Raises:
        RbdmlError: a file is truncated or altered.
    """
    arrays = {file: _read(folder, file, hashes[file], f"of '{name}' {remedy}") for file in FILES}
    return Dataset(
        name=name,
        train=Split(arrays[TRAIN_IMAGES][:, None], arrays[TRAIN_LABELS].long()),
        test=Split(arrays[TEST_IMAGES][:, None], arrays[TEST_LABELS].long()),
        hashes=dict(hashes),
    )


def _find(folder: Path, name: str) -> Path | None:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    return None


def _read(folder: Path, name: str, sha256: str, remedy: str) -> Tensor:
    path = _find(folder, name)
    if path is None:
        raise RbdmlError(f"{folder / name}: no such file: get a fresh copy {remedy}")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise RbdmlError(f"{path}: truncated or unreadable ({error}): get a fresh copy {remedy}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RbdmlError(f"{path}: its content has another SHA-256 than it should: get a fresh copy {remedy}")
    return parse_idx(content)


def parse_idx(content: bytes) -> Tensor:
    """An IDX file of bytes as a uint8 tensor: magic 0 0 8 d, d big-endian sizes, then the data."""
    dimensions = content[3]
    sizes = np.frombuffer(content, dtype=">u4", count=dimensions, offset=4).astype(int)
    data = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions)
    return torch.from_numpy(data.reshape(sizes).copy())


def format_idx(array: np.ndarray) -> bytes:
    """The inverse of `parse_idx`."""
    header = bytes([0, 0, 8, array.ndim]) + np.asarray(array.shape, dtype=">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()
