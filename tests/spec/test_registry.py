from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from robustbench_dml.spec import registry
from robustbench_dml.spec.registry import Info, Registry
from robustbench_dml.utils.errors import RbdmlError


def some(name: str) -> Info:
    return Info(name=name, summary="s", paper="p")


@dataclass
class Point:
    """An entry point of another distribution."""

    entries: Registry[Info]
    broken: bool = False
    name: str = "outside"
    group: str = "robustbench_dml.things"

    def load(self) -> None:
        if self.broken:
            raise ImportError("no such module")
        self.entries.add(some("from-outside"))


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[Info]]:
    made: Registry[Info] = Registry("thing", "robustbench_dml.cli.templates", "robustbench_dml.things")
    points = [Point(made)]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "robustbench_dml.things" else [])
    yield made


def test_other_distributions_add_entries_through_their_group(entries: Registry[Info]) -> None:
    assert entries.get("from-outside").name == "from-outside"
    assert "from-outside" in entries and "other" not in entries
    assert [info.name for info in entries] == ["from-outside"]


def test_a_failed_discovery_is_tried_again(entries: Registry[Info], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(registry, "entry_points", lambda group: [Point(entries, broken=True)])
        with pytest.raises(RbdmlError, match=r"entry point 'outside' of group .* ImportError: no such module"):
            entries.get("from-outside")
    assert entries.get("from-outside").summary == "s"


def test_names_are_taken_once_and_misses_name_the_nearest(entries: Registry[Info]) -> None:
    entries.add(some("alpha"))
    with pytest.raises(RbdmlError, match="thing 'alpha' is registered twice"):
        entries.add(some("alpha"))
    with pytest.raises(RbdmlError, match=r"unknown thing 'alpa': did you mean 'alpha'\? `rbdml list things`"):
        entries.get("alpa")


def test_the_groups_are_named_as_documented() -> None:
    groups = [r._group for r in (registry.DEFENSES, registry.ATTACKS, registry.DATASETS, registry.BACKBONES)]
    assert groups == [f"robustbench_dml.{kind}" for kind in ("defenses", "attacks", "datasets", "backbones")]
