"""Rows of `rbdml list` without importing PyTorch, which takes seconds.

The modules that register entries import PyTorch at their top. A forked child imports them with stand-ins for heavy
packages and sends the rows. Stand-ins can be called, inherited from and used in types. A module that needs more makes
the child fail; then this process imports the real packages.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from multiprocessing import get_context
from types import ModuleType
from typing import Any, NoReturn

HEAVY = frozenset(
    {"PIL", "faiss", "matplotlib", "pandas", "safetensors", "scipy", "seaborn", "sklearn", "torch", "torchvision"}
)
Rows = list[dict[str, str]]


def rows_of(kind: str) -> Rows:
    """Return the rows of a kind of entries, as `report.catalogue.describe`."""
    if "torch" not in sys.modules and hasattr(os, "fork"):
        with suppress(Exception), ProcessPoolExecutor(1, get_context("fork"), initializer=_silence) as child:
            return child.submit(light_rows, kind).result()
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


def _silence() -> None:
    """Discard the output of this process: if it fails, another one repeats the work."""
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)


class StandIn(ModuleType):
    """A heavy package, or an object of one. It works in calls, types and base classes; all else raises TypeError."""

    __iter__ = None

    def __getattr__(self, name: str) -> StandIn:
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn(name)

    def __call__(self, *_: Any, **__: Any) -> StandIn:
        """Return another stand-in."""
        return StandIn(self.__name__)

    def __getitem__(self, _: Any) -> StandIn:
        return StandIn(self.__name__)

    def __or__(self, _: Any) -> StandIn:
        return StandIn(self.__name__)

    __ror__ = __or__

    def __mro_entries__(self, _: Sequence[Any]) -> tuple[()]:
        return ()

    def __bool__(self) -> NoReturn:
        raise TypeError("a stand-in has no value")

    def __repr__(self) -> NoReturn:
        raise TypeError("a stand-in has no text")


class _Finder(MetaPathFinder, Loader):
    """Finds a stand-in for every module of a heavy package."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a stand-in, None for other modules."""
        return ModuleSpec(fullname, self, is_package=True) if fullname.partition(".")[0] in HEAVY else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An empty stand-in."""
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to execute."""
