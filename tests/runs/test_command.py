from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from board_support import foreign_spec, made_spec
from cli_support import rbdml
from hypothesis import given, settings
from hypothesis import strategies as st

from robustbench_dml.runs import api
from robustbench_dml.runs import external as foreign
from robustbench_dml.runs import run as runs
from robustbench_dml.runs.command import FILE, SURROGATE, WEIGHTS, command_for, settings_of
from robustbench_dml.runs.context import RunContext
from robustbench_dml.spec import make
from robustbench_dml.spec.make import changed_evaluation, make_spec, published_evaluation
from robustbench_dml.spec.registry import DEFENSES, SOLVERS
from robustbench_dml.spec.schema import ExternalSpec, RunSpec
from robustbench_dml.utils.errors import RbdmlError

DIGITS = "0123456789abcdef"
FP32 = " --precision fp32 --attack-precision fp32"  # a command names its precisions: the defaults are the device's


class ReachedError(RbdmlError):
    """The command was parsed to the end."""


@pytest.fixture(scope="module")
def parsed() -> Iterator[list[Any]]:
    """What the command line makes of a command, instead of doing it; surrogates are known by the name of their file."""
    caught: list[Any] = []

    def catch(spec: RunSpec, place: RunContext, *, force: bool = False) -> None:
        caught.append(spec)
        raise ReachedError("done")

    def catch_foreign(
        text: str, checkpoint: Path, place: RunContext, *, dataset: str, changes: Any, force: bool
    ) -> None:
        caught.append((text, dataset, changed_evaluation(published_evaluation(dataset), changes)))
        raise ReachedError("done")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "run", catch)
        patch.setattr(api, "run_spec", catch)
        patch.setattr(foreign, "evaluate_external", catch_foreign)
        patch.setattr("robustbench_dml.utils.precision.best_precision", lambda _: "bf16")  # else commands call it slow
        patch.setattr("robustbench_dml.spec.make.surrogate_digits", lambda path: path.name.removeprefix(SURROGATE))
        yield caught


def spec_of(command: str, parsed: list[Any]) -> Any:
    """The spec that a command comes to."""
    first, *words = shlex.split(command)
    parsed.clear()
    if first == "rbdml":
        assert rbdml(*words).err == "rbdml: done\n"
    else:
        assert (first, words[0]) == ("python", "-c")
        with pytest.raises(ReachedError):
            exec(words[1], {})
    [spec] = parsed
    return spec


def some(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


LENGTH = st.integers(1, 255).map(lambda k: k / 255) | st.floats(1e-6, 1)
THREAT = {"eps": some(LENGTH), "alpha": some(LENGTH)}
PRECISION = some(st.sampled_from(["fp32", "bf16"]))
DEFENSE_NAMES = ["act", "est", "hm-lga-ics", "hm-s-m", "madry", "regular", "HM[S,-0.1]&ICS(0.25)", "ACT[S]", "hm-s-g2"]
SEARCHES = {
    "apgd": {"restarts": 3},
    "blend": {"guides": 4},
    "dim": {"least": 0.8},
    "mim": {"decay": 0.5},
    "nes": {"sigma": 0.3, "population": 50},
    "pgd": {"random_start": True},
    "square": {"queries": 77, "p_init": 0.1},
    "ti-dim": {"kernel": 7},
    "tim": {"kernel": 7},
    "transfer": {"solver": "apgd"},
    "universal": {"sample": 64},
}
TRAINING = st.fixed_dictionaries(
    {
        **THREAT,
        "eta": some(st.integers(0, 99)),
        "pairs": some(st.integers(1, 500)),
        "lr": some(st.floats(1e-9, 1)),
        "weight_decay": some(st.floats(0, 1)),
        "on_collapse": some(st.sampled_from(["stop", "continue"])),
        "precision": PRECISION,
        "weight_precision": PRECISION,
        "batchnorm": some(st.sampled_from(["train", "frozen"])),
    }
)
BUDGETS = st.sampled_from(["quick", "standard", "paper", "20M", "10min"]) | st.integers(1, 10**12).map(str)


@st.composite
def evaluations(draw: st.DrawFn) -> dict[str, Any]:
    chosen = draw(
        st.fixed_dictionaries(
            {
                **THREAT,
                "steps": some(st.integers(0, 99)),
                "queries": some(st.integers(1, 10**6) | st.just("all")),
                "seed": some(st.integers(0, 99)),
                "precision": PRECISION,
                "protocol": some(st.sampled_from(["ers", "ers-published"])),
                "extra_attacks": some(st.sampled_from([["published"], ["ca+w2", "qa-m10"]])),
                "solver": some(st.sampled_from(sorted(SEARCHES))),
            }
        )
    )
    if chosen["protocol"] == "ers-published":
        chosen["extra_attacks"] = None
    if chosen["solver"]:
        chosen["solver_params"] = draw(st.sampled_from([None, SEARCHES[chosen["solver"]]]))
    if chosen["solver"] == "transfer":
        chosen["surrogate"] = DIGITS
    if draw(st.booleans()):
        chosen |= {"norm": "l2", "eps": draw(st.floats(0, 100)), "alpha": draw(LENGTH)}
    return chosen


@settings(max_examples=150, deadline=None)
@given(
    defense=st.sampled_from(DEFENSE_NAMES),
    dataset=st.sampled_from(["glyphs-mini", "fashion", "cub", "sop"]),
    budget=BUDGETS,
    seed=st.integers(0, 2**40),
    sampler=some(st.sampled_from("RMSDH")),
    pretrained=some(st.booleans()),
    training=TRAINING,
    evaluation=evaluations(),
)
def test_the_command_makes_the_same_spec(
    defense: str,
    dataset: str,
    sampler: str | None,
    pretrained: bool | None,
    parsed: list[Any],
    **others: Any,
) -> None:
    weighted: dict[str, Any] = {} if dataset not in ("cub", "sop") else {"pretrained": pretrained}
    spec = make_spec(
        defense=defense, dataset=dataset, params={} if sampler is None else {"sampler": sampler}, **weighted, **others
    )
    command = command_for(spec)
    assert command.startswith("rbdml run --defense ")
    again = spec_of(command, parsed)
    assert again == spec
    assert again.digest == spec.digest


def test_defaults_are_left_out() -> None:
    assert command_for(made_spec("act")) == f"rbdml run --defense act --dataset glyphs-mini{FP32}"
    changed = made_spec("act", seed=3, budget="5M", training={"eps": 8 / 255}, evaluation={"queries": 7})
    assert command_for(changed) == (
        "rbdml run --defense act --dataset glyphs-mini --budget 5000000 --seed 3 --eps 8/255 --precision fp32 "
        "--queries 7 --attack-precision fp32"
    )


@pytest.mark.parametrize("name", [info.name for info in DEFENSES])
def test_the_command_of_every_defense_makes_its_spec(name: str, parsed: list[Any]) -> None:
    spec = made_spec(name)
    precisions = FP32 if DEFENSES.get(name).cls.trains else " --attack-precision fp32"
    assert command_for(spec) == f"rbdml run --defense {spec.defense} --dataset glyphs-mini{precisions}"
    assert spec_of(command_for(spec), parsed) == spec


def test_every_solver_is_among_the_tried() -> None:
    assert set(SEARCHES) | {"ensemble", "fgsm", "minimal-radius"} == {info.name for info in SOLVERS}


@pytest.mark.parametrize("changes", [{}, {"solver_params": {"restarts": 2}}, {"queries": 9, "seed": 4}])
def test_the_worst_case_names_the_surrogate_by_its_hash(changes: dict[str, Any], parsed: list[Any]) -> None:
    spec = made_spec("regular", evaluation={"protocol": "autorank", "surrogate": DIGITS, **changes})
    command = command_for(spec)
    assert "--protocol autorank " in command and f" --surrogate {SURROGATE}{DIGITS}" in command
    assert spec_of(command, parsed) == spec


@pytest.mark.parametrize("changes", [{}, {"solver_params": {"rounds": 1}}, {"norm": "l2"}, {"queries": 9}])
@pytest.mark.parametrize("dataset", ["glyphs-mini", "cub"])
def test_the_protocol_radius_is_repeated(dataset: str, changes: dict[str, Any], parsed: list[Any]) -> None:
    spec = made_spec("regular", dataset=dataset, evaluation={"protocol": "radius", **changes})
    assert spec_of(command_for(spec), parsed) == spec


@pytest.mark.parametrize("training", [{"transform": "crop and flip"}, {"norm": "l2", "eps": 2.5, "alpha": 0.5}])
def test_settings_without_an_option_are_written_in_python(training: dict[str, Any], parsed: list[Any]) -> None:
    spec = made_spec("act", seed=2, params={"sampler": "S"}, training=training, evaluation={"steps": 5})
    assert spec_of(command_for(spec), parsed) == spec


def test_weights_from_a_file_are_named_by_their_hash(
    tmp_path: Path, parsed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"weights"
    digits = hashlib.sha256(content).hexdigest()[:8]
    monkeypatch.chdir(tmp_path)
    Path(WEIGHTS + digits).write_bytes(content)
    spec = make_spec(defense="act", dataset="cub", weights=Path(WEIGHTS + digits))
    assert spec.pretrained == digits
    assert spec_of(command_for(spec), parsed) == spec


def test_a_defense_from_a_file_is_named_with_a_placeholder() -> None:
    spec = made_spec("act").model_copy(update={"defense": "harder", "params": {"margin": 0.5}})
    command = f"rbdml run --defense {FILE}:harder --dataset glyphs-mini --param margin=0.5{FP32}"
    assert command_for(spec) == command


@settings(max_examples=50, deadline=None)
@given(evaluation=evaluations(), dataset=st.sampled_from(["glyphs-mini", "cub"]))
def test_an_external_model_is_evaluated_again(evaluation: Any, dataset: str, parsed: list[Any]) -> None:
    spec = foreign_spec(dataset=dataset, **evaluation)
    command = command_for(spec)
    assert re.match(rf"rbdml evaluate --model mine.py:factory checkpoint.safetensors --dataset {dataset}\b", command)
    text, where, evaluated = spec_of(command, parsed)
    assert ExternalSpec(**{**dict(spec), "model": text, "dataset": where, "evaluation": evaluated}) == spec


def test_a_name_cannot_leave_its_word() -> None:
    spec = made_spec("act").model_copy(update={"defense": "x; rm -rf ~ $(id) `id` '", "params": {}})
    assert shlex.split(command_for(spec))[2:4] == ["--defense", f"{FILE}:{spec.defense}"]


@pytest.mark.parametrize("dataset", ["fashion", "glyphs", "cub"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"eps": 16 / 255},
        {"norm": "l2"},
        {"solver_params": {"steps": 7}},
        {"protocol": "ers"},
        {"protocol": "ers", "eps": 32 / 255},
        {"protocol": "ers", "solver": "apgd"},
        {"protocol": "ers-published", "steps": 3},
        {"queries": "all"},
        {"protocol": "ers", "queries": 500},
        {"protocol": "ers", "queries": "all"},
    ],
    ids=str,
)
def test_an_evaluation_is_repeated_where_radius_is_the_default(
    dataset: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside of these tests, it is."""
    monkeypatch.setattr(make, "DEFAULT_PROTOCOL", "radius")
    spec = make_spec(defense="act", dataset=dataset, evaluation=changes)
    assert spec.evaluation.protocol == changes.get("protocol", "radius")
    assert make_spec(**settings_of(spec)) == spec
    if not changes:
        assert settings_of(spec) == {"defense": "act", "dataset": dataset, "training": {"precision": "fp32"}}
