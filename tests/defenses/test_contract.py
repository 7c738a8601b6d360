"""The contract, for one entry of each class and every kind of state; and that every entry can be built."""

from __future__ import annotations

import pytest

from robustbench_dml.spec.parameters import build_defense, resolve_params
from robustbench_dml.spec.registry import DEFENSES, DefenseInfo
from robustbench_dml.spec.schema import Threat
from robustbench_dml.training.testing import check_defense

OWN = [info for info in DEFENSES if info.cls.__module__.startswith("robustbench_dml.")]
# One entry of every class, so that a new file is checked by being there, and of every kind of destination.
NAMES = {info.cls: info.name for info in OWN if info.cls.trains and not info.cls.fake}.values()
DESTINATIONS = ["madry", "hm-lga-ics", "hm-r-m", "hm-s-gb", "hm-s-g2", "hm-s-zero"]


@pytest.mark.parametrize("name", sorted({*NAMES, *DESTINATIONS}))
def test_keeps_the_contract(name: str) -> None:
    check_defense(name)


@pytest.mark.parametrize("info", OWN, ids=lambda info: info.name)
def test_every_entry_can_be_built(info: DefenseInfo) -> None:
    params = resolve_params(info, {})
    assert build_defense(info.name, params, Threat(eps=0.1, alpha=0.1, steps=2)).threat.steps == 2
    assert resolve_params(info, params) == params  # there is one way to write each


def test_no_two_entries_are_the_same() -> None:
    settings = [(info.cls, tuple(sorted(resolve_params(info, {}).items()))) for info in OWN if info.name != "hm"]
    assert len(set(settings)) == len(settings)
