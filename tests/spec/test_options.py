from __future__ import annotations

from typing import Any

import pytest

from robustbench_dml.spec.options import (
    CONTEXT,
    EVALUATE,
    OPTIONS,
    PARAMS,
    SPEC,
    TRAIN,
    arguments_of,
    current_name,
    number,
    words_named,
    words_of,
)
from robustbench_dml.utils.errors import RbdmlError

WORDS: dict[str, Any] = {
    "defense": "act",
    "dataset": "glyphs-mini",
    "budget": 20_000,
    "seed": 3,
    "sampler": "S",
    "param": {"ics": 0.3},
    "eta": 4,
    "eps": "8/255",
    "queries": 7,
    "attack_steps": 2,
    "extra_attack": ["ca+w2"],
    "solver": "apgd",
    "solver_param": (("restarts", "5"),),
    "out": "elsewhere",
}
ARGUMENTS = {
    "defense": "act",
    "dataset": "glyphs-mini",
    "budget": "20000",
    "seed": 3,
    "params": {"sampler": "S", "ics": 0.3},
    "training": {"eta": 4, "eps": 8 / 255},
    "evaluation": {
        "queries": 7,
        "steps": 2,
        "extra_attacks": ["ca+w2"],
        "solver": "apgd",
        "solver_params": {"restarts": "5"},
    },
}


def test_words_are_sorted_into_the_arguments_of_a_spec() -> None:
    assert arguments_of(WORDS) == ARGUMENTS
    assert arguments_of({option.word: None for option in OPTIONS}) == {"params": {}, "training": {}, "evaluation": {}}


def test_arguments_lead_back_to_words() -> None:
    words = {option.word: value for option, value in words_of(ARGUMENTS)}
    assert arguments_of(words) == ARGUMENTS
    assert list(words) == [option.word for option in OPTIONS if option.word in words]


def test_names_and_former_names_are_unique() -> None:
    names = [name for option in OPTIONS for name in (option.name, *option.aliases)]
    assert len(set(names)) == len(names)
    for part in (SPEC, PARAMS, TRAIN, EVALUATE, CONTEXT):
        keys = [option.key for option in OPTIONS if option.part == part]
        assert len(set(keys)) == len(keys) > 0


def test_every_help_is_one_sentence() -> None:
    assert all(option.help.endswith(".") and "default" not in option.help for option in OPTIONS)


def test_former_names_lead_to_current_ones() -> None:
    former = {"set": "param", "also": "extra-attack", "optimiser": "solver", "search": "solver-param"}
    assert {name: current_name(name) for name in former} == former
    assert words_named({"set": {}, "also": [], "eta": 1}, PARAMS, TRAIN, EVALUATE) == {
        "param": {},
        "extra_attack": [],
        "eta": 1,
    }


def test_unknown_words_are_refused_with_the_nearest_one() -> None:
    with pytest.raises(RbdmlError, match="unknown option 'etta': did you mean 'eta'"):
        words_named({"etta": 1}, TRAIN)
    with pytest.raises(RbdmlError, match="unknown option 'eta'"):
        words_named({"eta": 1}, EVALUATE)


@pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), ("0.03", 0.03), ("1e-3", 1e-3), ("-1/4", -0.25)])
def test_numbers_and_quotients_are_read(text: str, value: float) -> None:
    assert number(text) == value


@pytest.mark.parametrize("text", ["", "8/0", "8/x", "small", "1/2/3"])
def test_other_text_is_no_number(text: str) -> None:
    with pytest.raises(RbdmlError, match="is not a number such as"):
        number(text)
