"""`rbdml list`."""

from __future__ import annotations

import json
import re
from itertools import groupby
from typing import Any

import pytest
from cli_support import rbdml

from robustbench_dml.spec.published import BUDGETS
from robustbench_dml.spec.registry import ATTACKS, BACKBONES, DATASETS, DEFENSES, Info, Registry

REGISTRIES: dict[str, Registry[Any]] = {
    "defenses": DEFENSES,
    "attacks": ATTACKS,
    "datasets": DATASETS,
    "backbones": BACKBONES,
}


@pytest.mark.parametrize("kind", REGISTRIES)
def test_a_list_holds_every_entry_with_its_source(kind: str) -> None:
    rows = json.loads(rbdml("list", kind, "--json").out)
    entries: list[Info] = [*REGISTRIES[kind], *REGISTRIES[kind].schemes]
    listed = [(row["name"], row["source"]) for row in rows]
    if kind == "defenses":
        listed.sort()  # they are listed by family
    assert listed == [(info.name, info.paper) for info in entries]


def test_defenses_are_listed_by_family() -> None:
    rows = json.loads(rbdml("list", "defenses", "--json").out)
    families = [family for family, _ in groupby(row["family"] for row in rows)]
    assert families[0] == "baseline" and families[-1] == "fake"
    assert len(families) == len(set(families))
    assert {row["name"] for row in rows if row["family"] == "baseline"} == {"pixels", "regular", "untrained"}


def test_a_table_of_defenses_has_one_row_for_the_grid() -> None:
    rows = json.loads(rbdml("list", "defenses", "--json").out)
    names = [line.split()[0] for line in rbdml("list", "defenses").out.splitlines()[2:]]
    grid = {f"hm-{source}-{target}" for source in "rmsdh" for target in "rmsdh"}
    assert len(names) == len(rows) - len(grid) + 1
    assert set(names) == {row["name"] for row in rows} - grid | {"hm-X-Y"}


@pytest.mark.parametrize("kind", ["attacks", "datasets", "backbones", "budgets"])
def test_a_list_is_the_same_as_text_and_json(kind: str) -> None:
    rows = json.loads(rbdml("list", kind, "--json").out)
    header, _, *lines = rbdml("list", kind).out.splitlines()
    assert re.split("  +", header.strip()) == list(rows[0])
    for line, row in zip(lines, rows, strict=True):
        assert line.startswith(f"{row['name']} ")
        assert all(value in line for value in row.values())


def test_the_list_of_budgets_has_their_passes_for_every_data_set() -> None:
    rows = json.loads(rbdml("list", "budgets", "--json").out)
    assert [row["name"] for row in rows] == list(BUDGETS)
    units = {"passes": "[kM]", "iterations": " it"}
    for row in rows:
        unit, _, _ = BUDGETS[row["name"]]
        assert all(re.fullmatch(rf"[\d.]+{units[unit]}", row[info.name]) for info in DATASETS)
