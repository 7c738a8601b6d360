"""Attacked values on disk, so that an interrupted evaluation continues."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from torch import Tensor

from robustbench_dml.utils import distributed
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.tensors import read_tensors, tensors_hash, write_tensors

CACHE_FILE = "evaluation.safetensors"

Values = dict[str, Tensor]  # (B,) by column


class AttackCache:
    """Values of every finished attack on every block of queries. As a context manager, writes them on every exit."""

    def __init__(self, path: Path | None = None, *, of: str = "", every: float = 300) -> None:
        """
        Args:
            path: the file. Its values are used if they belong to the same evaluation, else overwritten. Each of
                several processes has a file beside this file. None stores nothing.
            of: text of everything that decides the values.
            every: seconds between two writes.
        """
        self._path, self._every, self._written, self._unsaved = _own_file(path), every, time.monotonic(), False
        self._key = hashlib.sha256(of.encode()).hexdigest()
        self._tensors: Values = {}
        for file in [] if path is None else cache_files(path):
            self._load(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.write()

    def get(self, attack: str, rows: Tensor) -> Values | None:
        """Return the (B,) values of each column for an attack on these rows, None if the values are unknown."""
        prefix = _prefix(attack, rows)
        values = {name.removeprefix(prefix): one for name, one in self._tensors.items() if name.startswith(prefix)}
        return values or None

    def add(self, attack: str, rows: Tensor, values: Mapping[str, Tensor]) -> Values:
        """Store values and return them on the CPU. Writes the file if the last write is long ago."""
        copies = {column: one.to("cpu", copy=True) for column, one in values.items()}  # columns may share memory
        self._tensors |= {f"{_prefix(attack, rows)}{column}": one for column, one in copies.items()}
        self._unsaved = True
        if time.monotonic() - self._written > self._every:
            self.write()
        return copies

    def write(self) -> None:
        """Write new values atomically."""
        if self._path is not None and self._unsaved:
            write_tensors(self._path, self._tensors, {"of": self._key, "checksum": tensors_hash(self._tensors)})
        self._written, self._unsaved = time.monotonic(), False

    def _load(self, path: Path) -> None:
        try:
            tensors, state = read_tensors(path)
        except RbdmlError:  # a damaged file only costs time: its values are computed again
            return
        if state.get("of") == self._key and state.get("checksum") == tensors_hash(tensors):
            self._tensors |= tensors


def cache_files(path: Path) -> list[Path]:
    """The existing files of all processes."""
    return sorted(path.parent.glob(f"{path.stem}*{path.suffix}"))


def _own_file(path: Path | None) -> Path | None:
    return path if path is None or distributed.is_leader() else path.with_stem(f"{path.stem}-{distributed.rank()}")


def _prefix(attack: str, rows: Tensor) -> str:
    return f"{attack}/{tensors_hash({'rows': rows})[:16]}/"
