"""IDX files of MNIST and its relatives, checked by hash before they are parsed."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robustbench_dml.datasets.base import DataPaths, Dataset, DatasetStatus, DownloadRequest, Split
from robustbench_dml.datasets.prepare import RemoteFile, prepare_files
from robustbench_dml.utils.errors import MissingDataError, RbdmlError

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
DIMENSIONS = 3
MOST = 100_000_000  # bytes of a file; the largest file of MNIST and its relatives has half of it


@dataclass
class IdxSet:
    """A data set of four IDX files."""

    name: str  # name of the data set
    title: str  # name of the data set's folder in torchvision
    hashes: Mapping[str, str]  # SHA-256 of the uncompressed content of each file
    servers: tuple[str, ...]  # addresses of folders with the compressed files
    archives: Mapping[str, str]  # hash of each compressed file on the servers
    folders: tuple[str, ...] = ()  # other names of a folder of the set
    system: tuple[Path, str] | None = None  # folder of the operating system's package, and the command that installs it

    def locate(self, paths: DataPaths) -> Path | None:
        """Return the folder with the four files: a data folder, the set's folder below it, or the system's."""
        inside = (".", *self.folders, self.name, f"{self.title}/raw")
        candidates = [root / part for root in paths.folders for part in inside]
        if self.system is not None:
            candidates.append(self.system[0])
        return next((folder for folder in candidates if has_files(folder)), None)

    def find(self, paths: DataPaths) -> Path:
        """Return the folder of `locate`.

        Raises:
            MissingDataError: there is none; the message names the ways to get the set.
        """
        if (folder := self.locate(paths)) is not None:
            return folder
        system = "" if self.system is None else f"`{self.system[1]}`, or "
        raise MissingDataError(
            f"data set '{self.name}' is not on this machine: put its four .gz files into a folder and give it by "
            f"--data-root or $RBDML_DATA, or {system}`rbdml data prepare {self.name}`"
        )

    def load(self, paths: DataPaths) -> Dataset:
        """Read and check the set."""
        remedy = f"or remove the file and use `rbdml data prepare {self.name}`"
        return load_idx(self.name, self.find(paths), self.hashes, remedy=remedy)

    def status(self, paths: DataPaths, *, verify: bool = False) -> DatasetStatus:
        """Return the status of the set. The files are small, so they are always checked."""
        del verify
        return idx_status(self.find(paths), self.load(paths))

    def prepare(self, paths: DataPaths, request: DownloadRequest) -> Path:
        """Download the four files, or take the files of a folder."""
        files = [
            RemoteFile(f"{file}.gz", tuple(f"{server}{file}.gz" for server in self.servers), self.archives[file])
            for file in FILES
        ]
        return prepare_files(self.name, files, paths, request, locate=self.locate)


def idx_status(folder: Path, data: Dataset) -> DatasetStatus:
    """Return the status of a loaded set."""
    train, test = ((len(split), len(torch.unique(split.labels))) for split in (data.train, data.test))
    return DatasetStatus(folder, train, test, "in memory", data.hashes)


def has_files(folder: Path) -> bool:
    """Return true if the four files are there, each plain or with .gz."""
    return all(_find(folder, name) is not None for name in FILES)


def load_idx(name: str, folder: Path, hashes: Mapping[str, str], *, remedy: str) -> Dataset:
    """Read a data set of four IDX files.

    Args:
        name: name of the data set.
        folder: the folder with the files, each plain or with .gz.
        hashes: SHA-256 of the uncompressed content of each file.
        remedy: advice on a bad file, for the error message.

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
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MOST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise RbdmlError(f"{path}: truncated or unreadable ({error}): get a fresh copy {remedy}") from None
    if len(content) > MOST:
        raise RbdmlError(f"{path}: more than {MOST:,} bytes, which it should not have: get a fresh copy {remedy}")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RbdmlError(f"{path}: its content has another SHA-256 than it should: get a fresh copy {remedy}")
    return parse_idx(content)


def parse_idx(content: bytes) -> Tensor:
    """Parse an IDX file of bytes into a uint8 tensor: magic 0 0 8 d, d big-endian sizes, then the data.

    Raises:
        RbdmlError: another format.
    """
    dimensions = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    start = 4 + 4 * dimensions
    sizes = [int.from_bytes(content[at : at + 4]) for at in range(4, start, 4)]
    if not 1 <= dimensions <= DIMENSIONS or 0 in sizes or len(content) != start + math.prod(sizes):
        raise RbdmlError("not an IDX file of bytes with as many values as it says: get a fresh copy of it")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(sizes).copy())


def format_idx(array: np.ndarray) -> bytes:
    """Invert `parse_idx`."""
    header = bytes([0, 0, 8, array.ndim]) + np.asarray(array.shape, dtype=">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()
