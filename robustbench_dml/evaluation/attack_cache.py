"""What the attacks of an evaluation have found so far, on disk, so that one that was interrupted goes on."""

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

PARTS_FILE = "evaluation.safetensors"

DatasetStatus = dict[str, Tensor]


class AttackCache:
    """The values of every attack on every block of queries that is done; as a context, kept whatever happens."""

    def __init__(self, path: Path | None = None, *, of: str = "", every: float = 300) -> None:
        """
        Args:
            path: of the file; what it holds is taken up if it is of the same evaluation, else written over. Where
                several processes share an evaluation, each has a file beside it. None: nothing is kept.
            of: text of everything that decides the values.
            every: seconds between two writings.
        """
        self._path, self._every, self._written, self._more = _own(path), every, time.monotonic(), False
        self._key = hashlib.sha256(of.encode()).hexdigest()
        self._tensors: DatasetStatus = {}
        for kept in [] if path is None else parts_files(path):
            self._take_up(kept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.write()  # whatever ends the work, and whatever becomes of what follows it

    def get(self, attack: str, rows: Tensor) -> DatasetStatus | None:
        """(B,) values by column of an attack on these rows, if they are known."""
        prefix = _prefix(attack, rows)
        found = {name.removeprefix(prefix): one for name, one in self._tensors.items() if name.startswith(prefix)}
        return found or None

    def add(self, attack: str, rows: Tensor, values: Mapping[str, Tensor]) -> DatasetStatus:
        """Remember values, and write everything where the last writing is long ago; returns them on the CPU."""
        found = {column: one.to("cpu", copy=True) for column, one in values.items()}  # columns may share memory
        self._tensors |= {f"{_prefix(attack, rows)}{column}": one for column, one in found.items()}
        self._more = True
        if time.monotonic() - self._written > self._every:
            self.write()
        return found

    def write(self) -> None:
        """Write what is known, atomically, if there is more than was written."""
        if self._path is not None and self._more:
            write_tensors(self._path, self._tensors, {"of": self._key, "checksum": tensors_hash(self._tensors)})
        self._written, self._more = time.monotonic(), False

    def _take_up(self, path: Path) -> None:
        try:
            tensors, state = read_tensors(path)
        except RbdmlError:  # torn; it holds nothing that cannot be worked out again
            return
        if state.get("of") == self._key and state.get("checksum") == tensors_hash(tensors):
            self._tensors |= tensors


def parts_files(path: Path) -> list[Path]:
    """The files that are kept: this one and those of other processes beside it, where they exist."""
    return sorted(path.parent.glob(f"{path.stem}*{path.suffix}"))


def _own(path: Path | None) -> Path | None:
    return path if path is None or distributed.is_leader() else path.with_stem(f"{path.stem}-{distributed.rank()}")


def _prefix(attack: str, rows: Tensor) -> str:
    return f"{attack}/{tensors_hash({'rows': rows})[:16]}/"
