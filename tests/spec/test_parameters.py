from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_dml.spec.parameters import resolve
from robustbench_dml.utils.errors import RbdmlError


@dataclass(kw_only=True)
class Settings:
    threat: object = None  # given by the harness
    margin: float = 0.2
    rounds: int = 3
    early: bool = False
    sampler: str = "S"
    derived: int = field(default=7, init=False)


def resolved(overrides: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    return resolve(Settings, overrides, owner="defense 'x'", defaults=defaults, given=["threat"])


def refusal(overrides: Mapping[str, Any]) -> str:
    with pytest.raises(RbdmlError) as caught:
        resolved(overrides)
    message = str(caught.value)
    assert message.startswith("defense 'x'")
    assert "\n" not in message
    return message


def test_the_users_values_go_before_the_entrys_and_those_before_the_classs() -> None:
    assert resolved({}) == {"margin": 0.2, "rounds": 3, "early": False, "sampler": "S"}
    assert resolved({"rounds": 5}, rounds=4, margin=0.1) == {"margin": 0.1, "rounds": 5, "early": False, "sampler": "S"}


@given(st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
def test_text_is_read_as_the_parameters_type(rounds: int, margin: float, early: bool) -> None:
    """As it comes from a command line, and as the value itself."""
    values = {"rounds": rounds, "margin": margin, "early": early, "sampler": "1"}
    for given_as in (values, {name: str(value) for name, value in values.items()}):
        found = resolved(given_as)
        assert {name: found[name] for name in values} == values
        assert [type(found[name]) for name in values] == [int, float, bool, str]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rounds", "three"),
        ("rounds", "1.5"),
        ("rounds", ""),
        ("margin", "nan"),
        ("margin", "inf"),
        ("margin", math.nan),
        ("margin", "1e999"),
        ("margin", None),
        ("early", "perhaps"),
        ("early", "2"),
        ("sampler", 5),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(name: str, value: object) -> None:
    message = refusal({name: value})
    assert f"parameter '{name}' cannot be '{value}'" in message


@pytest.mark.parametrize("name", ["threat", "derived", "", "Rounds"])
def test_unknown_parameters_are_refused(name: str) -> None:
    message = refusal({name: "1"})
    assert f"has no parameter '{name}'" in message
    assert message.endswith("it has early, margin, rounds, sampler")


def test_a_near_miss_is_named() -> None:
    assert "did you mean 'rounds'?" in refusal({"round": "1"})


def test_a_class_without_parameters_is_named_as_such() -> None:
    @dataclass
    class Nothing:
        pass

    with pytest.raises(RbdmlError, match="it has none"):
        resolve(Nothing, {"a": 1}, owner="solver 'x'")
