"""Registries of defenses, attacks, solvers, data sets and backbones.

The module that defines an entry registers it. A registry imports the modules of its package on first use. Other
distributions add entries through the entry-point groups `robustbench_dml.defenses`, `.attacks`, `.solvers`, `.datasets`
and `.backbones`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from robustbench_dml.spec.columns import Column
from robustbench_dml.utils.errors import RbdmlError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

ParamValue = bool | int | float | str
UNDEFENDED = "regular"  # the defense that trains on benign images alone


@dataclass(frozen=True, kw_only=True)
class Info:
    """The description of an entry."""

    name: str
    summary: str  # one line, for `rbdml list`
    paper: str  # the source, with its arXiv number


@dataclass(frozen=True, kw_only=True)
class DefenseInfo(Info):
    """A defense: a class and the parameter values of this entry."""

    cls: type[Any]  # a Defense
    defaults: Mapping[str, ParamValue] = field(default_factory=dict)

    @property
    def baseline(self) -> bool:
        """True for what no defense achieves: shown on every board, and never ranked."""
        return self.name == UNDEFENDED or not self.cls.trains


@dataclass(frozen=True, kw_only=True)
class SolverInfo(Info):
    """A solver; the fields of its class are its parameters."""

    cls: type[Any]  # a Solver


@dataclass(frozen=True, kw_only=True)
class AttackInfo(Info):
    """An attack: a class, the parameter values of this entry, and the columns of its scores."""

    cls: type[Any]  # an Attack
    columns: tuple[Column, ...]
    defaults: Mapping[str, ParamValue] = field(default_factory=dict)

    def build(self) -> Any:
        """Build the Attack of this entry."""
        return self.cls(**self.defaults)


@dataclass(frozen=True, kw_only=True)
class DatasetInfo(Info):
    """A data set: its loader, and its size, from which budgets are computed before it is loaded."""

    family: str  # name in `published.FAMILIES`, which sets training and evaluation
    backbone: str  # the default
    train_images: int
    test_images: int
    train_classes: int
    test_classes: int
    load: Callable[[Any], Any]  # (DataPaths) -> Dataset
    status: Callable[..., Any]  # (DataPaths, *, verify=False) -> DatasetStatus; does not check every image
    prepare: Callable[[Any, Any], Path] | None = None  # (DataPaths, DownloadRequest); None: nothing to download
    queries: int | None = None  # queries of an evaluation by default; None: every test image
    # Parameters published with other values for this data set, by the name of a defense; valid for its class.
    params: Mapping[str, Mapping[str, ParamValue]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BackboneInfo(Info):
    """A network from normalised images to features of the embedding's dimension."""

    build: Callable[[], nn.Module]
    channels: int
    side: int | None  # image side in pixels; None: any side of at least `least_side`
    mean: tuple[float, ...]
    std: tuple[float, ...]
    least_side: int = 1
    weights: Weights | None = None  # the weights of `--pretrained`

    def takes(self, shape: tuple[int, int, int]) -> bool:
        """Check that images of a shape (C, H, W) fit."""
        sides = shape[1:]
        return shape[0] == self.channels and (
            min(sides) >= self.least_side if self.side is None else sides == (self.side, self.side)
        )

    @property
    def input(self) -> str:
        """The shape of its images, for messages."""
        side = f"at least {self.least_side}" if self.side is None else str(self.side)
        return f"{self.channels}x{side}x{side}"


@dataclass(frozen=True, kw_only=True)
class Scheme(Info):
    """Entries made on demand from names of the form `prefix:rest`; `name` shows the form."""

    make: Callable[[str], Info]
    listed: bool = True  # False: names that only Python makes


@dataclass(frozen=True)
class Weights:
    """Published weights of a network: the address of the file and the first digits of its SHA-256."""

    url: str
    digits: str  # 8 hexadecimal digits, as in the file names of torchvision


I = TypeVar("I", bound=Info)  # noqa: E741 - the usual letter for "some Info"


class Registry(Generic[I]):
    """Entries of one kind by name. Iteration is in the order of the names."""

    def __init__(self, kind: str, package: str, group: str) -> None:
        self.kind = kind
        self.package = package
        self._group = group
        self._entries: dict[str, I] = {}
        self._schemes: dict[str, Scheme] = {}
        self._complete = False

    def add(self, info: I) -> None:
        """Register one entry. The class of a notebook's cell replaces that of the cell's former run.

        Raises:
            RbdmlError: the name is taken by another entry.
        """
        if info.name in self._entries and not _run_again(self._entries[info.name], info):
            raise RbdmlError(f"{self.kind} '{info.name}' is registered twice: give one of them another name")
        self._entries[info.name] = info

    def add_scheme(self, scheme: Scheme) -> None:
        """Register entries that are made on demand.

        Raises:
            RbdmlError: the prefix is taken.
        """
        prefix = scheme.name.partition(":")[0]
        if prefix in self._schemes:
            raise RbdmlError(f"{self.kind} '{prefix}:' is registered twice: give one of them another prefix")
        self._schemes[prefix] = scheme

    @property
    def schemes(self) -> list[Scheme]:
        """All listed schemes, by prefix."""
        self._discover()
        return [scheme for _, scheme in sorted(self._schemes.items()) if scheme.listed]

    def get(self, name: str) -> I:
        """Return the entry of a name.

        Raises:
            RbdmlError: unknown name; the message has the nearest match.
        """
        self._discover()
        prefix, colon, rest = name.partition(":")
        if colon and prefix in self._schemes:
            return cast(I, self._schemes[prefix].make(rest))
        if name not in self._entries:
            hint = did_you_mean(name, self._entries)
            raise RbdmlError(
                f"unknown {self.kind} '{name}': {hint}`rbdml list {self.kind.replace(' ', '')}s` shows them all"
            )
        return self._entries[name]

    def __contains__(self, name: str) -> bool:
        self._discover()
        return name in self._entries

    def __iter__(self) -> Iterator[I]:
        self._discover()
        return iter(sorted(self._entries.values(), key=lambda info: info.name))

    def _discover(self) -> None:
        if self._complete:
            return
        self._complete = True  # first, because the modules imported below use this registry
        try:
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__, f"{self.package}."):
                importlib.import_module(module.name)
            for point in entry_points(group=self._group):
                _load(point)
        except BaseException:
            self._complete = False
            raise


def _run_again(before: Info, after: Info) -> bool:
    """Recognise a class that was defined again in a notebook or an interactive session."""
    classes = [getattr(info, "cls", None) for info in (before, after)]
    names = {(cls.__module__, cls.__qualname__) for cls in classes if cls is not None}
    return None not in classes and len(names) == 1 and "__main__" in next(iter(names))


def _load(point: EntryPoint) -> None:
    try:
        point.load()
    except Exception as error:
        raise RbdmlError(
            f"entry point '{point.name}' of group '{point.group}' cannot be loaded: {type(error).__name__}: {error}: "
            "mend or uninstall its distribution"
        ) from error


DEFENSES: Registry[DefenseInfo] = Registry("defense", "robustbench_dml.defenses", "robustbench_dml.defenses")
ATTACKS: Registry[AttackInfo] = Registry("attack", "robustbench_dml.attacks", "robustbench_dml.attacks")
SOLVERS: Registry[SolverInfo] = Registry("solver", "robustbench_dml.solvers", "robustbench_dml.solvers")
DATASETS: Registry[DatasetInfo] = Registry("data set", "robustbench_dml.datasets", "robustbench_dml.datasets")
BACKBONES: Registry[BackboneInfo] = Registry(
    "backbone", "robustbench_dml.models.backbones", "robustbench_dml.backbones"
)

# Reads a name in a paper's notation, such as `HM[S,M]`: the entry's name and its parameters, or None if unknown.
Notation = Callable[[str], tuple[str, dict[str, ParamValue]] | None]
NOTATIONS: list[Notation] = []

C = TypeVar("C", bound=type)


def _registers(registry: Registry[I], info: Callable[..., I], **fields: Any) -> Callable[[C], C]:
    def register(cls: C) -> C:
        registry.add(info(cls=cls, **fields))
        return cls

    return register


def register_defense(name: str, *, summary: str, paper: str, **defaults: ParamValue) -> Callable[[C], C]:
    """Class decorator: register a defense under a name, with values for its parameters.

    You can register one class several times, with other names and values.
    """
    return _registers(DEFENSES, DefenseInfo, name=name, summary=summary, paper=paper, defaults=defaults)


def register_attack(
    name: str, *, summary: str, paper: str, columns: tuple[Column, ...], **defaults: ParamValue
) -> Callable[[C], C]:
    """Class decorator: register an attack under a name, with the columns of its scores and values for its parameters.

    You can register one class several times, with other names and values.
    """
    fields = {"name": name, "summary": summary, "paper": paper, "columns": columns, "defaults": defaults}
    return _registers(ATTACKS, AttackInfo, **fields)


def register_solver(name: str, *, summary: str, paper: str) -> Callable[[C], C]:
    """Class decorator: register a solver under a name."""
    return _registers(SOLVERS, SolverInfo, name=name, summary=summary, paper=paper)


def register_notation(notation: Notation) -> Notation:
    """Decorator: read names of defenses with this function, too."""
    NOTATIONS.append(notation)
    return notation


def register_dataset(info: DatasetInfo) -> None:
    """Register a data set."""
    DATASETS.add(info)


def register_backbone(info: BackboneInfo) -> None:
    """Register a backbone."""
    BACKBONES.add(info)
