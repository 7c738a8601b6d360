"""Rows of `rbdml list` without importing PyTorch, which takes seconds.

The modules that register entries import PyTorch at their top. A forked child imports them with stand-ins for heavy
packages and sends the rows. Stand-ins can be called, inherited from and used in types. A module that needs more makes
the child fail; then this process imports the real packages.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

HEAVY = frozenset(
    {"PIL", "faiss", "matplotlib", "pandas", "safetensors", "scipy", "seaborn", "sklearn", "torch", "torchvision"}
)
Rows = list[dict[str, str]]


def rows_of(kind: str) -> Rows:
    """Return the rows of a kind of entries, as `report.catalogue.describe`."""
    if "torch" not in sys.modules and hasattr(os, "fork"):
        rows = _rows_of_child(kind)
        if rows is not None:
            return rows
    from robustbench_dml.report.catalogue import describe

    return describe(kind)


def light_rows(kind: str) -> Rows:
    """Return the rows of a kind with stand-ins for heavy packages, which stay in this process.

    Raises:
        Exception: a module needs the real package.
    """
    sys.meta_path.insert(0, _Finder())
    from robustbench_dml.report.catalogue import describe

    return describe(kind)


def _rows_of_child(kind: str) -> Rows | None:
    """Return the rows from a forked child; None if the child fails."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _send(kind, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(child, 0)
    return json.loads(content) if status == 0 else None


def _send(kind: str, writing: int) -> NoReturn:
    """Write the rows as JSON and end this process silently."""
    code = 1
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(silence, stream)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(json.dumps(light_rows(kind)).encode())
        code = 0
    finally:
        os._exit(code)


class StandIn:
    """An object of a heavy package. It works in calls, types and base classes; everything else raises TypeError."""

    __iter__ = None

    def __getattr__(self, name: str) -> StandIn:
        return _attribute(self, name)

    def __call__(self, *_: Any, **__: Any) -> StandIn:
        """Return another stand-in."""
        return StandIn()

    def __getitem__(self, _: Any) -> StandIn:
        return StandIn()

    def __or__(self, _: Any) -> StandIn:
        return StandIn()

    __ror__ = __or__

    def __mro_entries__(self, _: Sequence[Any]) -> tuple[()]:
        return ()

    def __bool__(self) -> NoReturn:
        raise TypeError("a stand-in has no value")

    def __repr__(self) -> NoReturn:
        raise TypeError("a stand-in has no text")


class StandInModule(ModuleType):
    """A module of a heavy package."""

    def __getattr__(self, name: str) -> StandIn:
        return _attribute(self, name)


def _attribute(of: object, name: str) -> StandIn:
    if name.startswith("__"):
        raise AttributeError(name)
    return StandIn()


class _Finder(MetaPathFinder, Loader):
    """Finds a stand-in for every module of a heavy package."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a stand-in, None for other modules."""
        return ModuleSpec(fullname, self, is_package=True) if fullname.partition(".")[0] in HEAVY else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An empty stand-in."""
        return StandInModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to execute."""
