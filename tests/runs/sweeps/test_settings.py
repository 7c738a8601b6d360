from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from board_support import made_spec
from cli_support import rbdml

from robustbench_dml.cli.main import cli
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.sweeps.matrix import OF_A_RUN, OF_THE_SWEEP
from robustbench_dml.runs.sweeps.plan import plan_tree
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.utils.errors import RbdmlError

HOW_IT_IS_SHOWN = {"force", "json", "quiet", "wide"}


def options_of(*names: str) -> set[str]:
    """The long options of a command."""
    command: Any = cli
    for name in names:
        command = command.commands[name]
    options = [one for one in command.params if isinstance(one, click.Option)]
    return {one.opts[-1].removeprefix("--") for one in options}


def test_a_matrix_may_set_all_that_a_run_may_be_given() -> None:
    """All but several devices in one run: a sweep has as many runs to spread over them."""
    assert {*OF_A_RUN, *OF_THE_SWEEP} == options_of("run") - HOW_IT_IS_SHOWN - {"devices"}
    assert not set(OF_A_RUN) & set(OF_THE_SWEEP)


@pytest.mark.parametrize("command", ["run", "status", "estimate"])
def test_the_options_of_a_sweep_are_those_of_a_matrix(command: str) -> None:
    assert {*OF_A_RUN, *OF_THE_SWEEP} <= options_of("sweep", command)


BOTH = {"defense": "act", "dataset": "glyphs-mini"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"budget": 20_000}, "--budget 20000"),
        ({"budget": "10min", "seed": 3}, "--budget 10min --seed 3"),
        ({"eps": "8/255", "alpha": 0.01, "eta": 4}, "--eps 8/255 --alpha 0.01 --eta 4"),
        ({"sampler": "S"}, "--sampler S"),
        ({"pairs": 16, "lr": 1, "weight-decay": 0.0}, "--pairs 16 --lr 1 --weight-decay 0"),
        ({"on-collapse": "stop", "precision": "bf16", "batchnorm": "train"},
         "--on-collapse stop --precision bf16 --batchnorm train"),
        ({"pretrained": False}, "--no-pretrained"),
        ({"attack-norm": "l2", "attack-eps": 2, "attack-alpha": "1/2"},
         "--attack-norm l2 --attack-eps 2 --attack-alpha 1/2"),
        ({"attack-steps": 2, "attack-seed": 5, "attack-precision": "bf16", "queries": 7},
         "--attack-steps 2 --attack-seed 5 --attack-precision bf16 --queries 7"),
        ({"protocol": "ers-published", "extra-attack": ["ca+w2", "ca-w2"]},
         "--protocol ers-published --extra-attack ca+w2 --extra-attack ca-w2"),
        ({"solver": "apgd", "solver-param": {"restarts": 5}}, "--solver apgd --solver-param restarts=5"),
    ],
)  # fmt: skip
def test_settings_and_options_make_the_same_spec(
    parsed: list[tuple[RunSpec, RunContext]], given: dict[str, Any], words: str
) -> None:
    rbdml("run", "--defense", "act", "--dataset", "glyphs-mini", *words.split())
    assert parsed[-1][0] == plan_tree({**BOTH, **given}, source="test").jobs[0].spec


def test_parameters_of_a_defense_are_a_table() -> None:
    [job] = plan_tree({**BOTH, "defense": "hm-lga-ics", "param": {"ics": 0.25}}, source="test").jobs
    assert job.spec == made_spec("hm-lga-ics", params={"ics": 0.25})


def test_where_and_options_make_the_same_context(
    parsed: list[tuple[RunSpec, RunContext]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"out": "here", "data-root": "there", "device": "cpu", "batch-size": 4, "checkpoint-every": "2min"}
    [job] = plan_tree({**BOTH, **given, "no-cache": True, "download": True, "tensorboard": False}, source="test").jobs
    rbdml(*job.words)
    for _, place in (parsed[-1], (None, job.task.context())):
        assert (place.out, place.paths.data_root) == (tmp_path / "here", tmp_path / "there")
        assert (place.device.type, place.batch_size, place.checkpoint_every) == ("cpu", 4, 120)
        assert place.paths.download and not place.tensorboard and not place.paths.cache


def test_a_time_that_is_none_is_refused_before_any_run_starts() -> None:
    with pytest.raises(RbdmlError, match="'banana' is not a time"):
        plan_tree({"defense": "act", "dataset": "glyphs-mini", "checkpoint-every": "banana"}, source="f.toml")
