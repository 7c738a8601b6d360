"""`--precision auto` is recorded as the precision it stands for on the device."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import RUN, nothing_below, rbdml, refusal, spec_of

from robustbench_dml.cli.options import _warn_of_emulation
from robustbench_dml.runs import api
from robustbench_dml.runs.record import Record
from robustbench_dml.utils import precision
from robustbench_dml.utils.device import pick_device
from robustbench_dml.utils.precision import best_precision

pytestmark = pytest.mark.usefixtures("described_figures")

TRAINED, ATTACKED = ("--precision", "auto"), ("--attack-precision", "auto")


@pytest.fixture(params=["fp32", "bf16"])
def best(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for module in (precision, api):
        monkeypatch.setattr(module, "best_precision", lambda _: request.param, raising=False)
    return str(request.param)


def test_auto_is_recorded_as_the_precision_used(best: str, tmp_path: Path) -> None:
    answer = rbdml(*RUN, *TRAINED, "--weight-precision", "fp32", *ATTACKED, "--json", "--out", tmp_path)
    assert answer.code == 0, answer.err
    spec = spec_of(Record.model_validate_json(answer.out))
    assert (spec.training.precision, spec.evaluation.precision) == (best, best)
    assert spec.training.weight_precision == (None if best == "fp32" else "fp32")
    again = rbdml(*RUN, *TRAINED, "--weight-precision", "fp32", *ATTACKED, "--out", tmp_path)
    assert again.out.startswith("already recorded")


def test_python_takes_auto_too(best: str) -> None:
    trained = api.train(
        "regular", "glyphs-mini", budget="32", training={"pairs": 8, "precision": "auto"}, device="cpu", quiet=True
    )
    assert trained.spec.training.precision == best
    found = api.evaluate(trained.model, "glyphs-mini", queries=2, steps=1, precision="auto", device="cpu", quiet=True)
    assert found.scores


def test_emulated_bf16_runs_with_one_warning(best: str, tmp_path: Path) -> None:
    _warn_of_emulation.cache_clear()  # as in a new process
    both = ("--precision", "bf16", "--attack-precision", "bf16")
    answer = rbdml(*RUN, *both, "--json", "--out", tmp_path)
    assert answer.code == 0, answer.err
    spec = spec_of(Record.model_validate_json(answer.out))
    assert (spec.training.precision, spec.evaluation.precision) == ("bf16", "bf16")
    assert answer.err.count("bf16 may be many times slower than fp32 here") == (1 if best == "fp32" else 0)


def test_a_sweep_names_its_precision() -> None:
    """It is planned on one machine and runs on others."""
    answer = rbdml("sweep", "--defense", "regular", "--dataset", "glyphs-mini", "--precision", "auto")
    assert answer.code == 2
    assert "'auto' is not one of 'fp32', 'bf16', 'tf32'" in answer.err


def test_tf32_is_refused_on_a_cpu(tmp_path: Path) -> None:
    """A record would state it, and the run would be one in float32."""
    for option in ("--precision", "--weight-precision", "--attack-precision"):
        assert "tf32 is a format of CUDA GPUs" in refusal(rbdml(*RUN, option, "tf32", "--out", tmp_path))
    assert nothing_below(tmp_path)


def test_auto_is_a_precision_of_the_device() -> None:
    assert best_precision(pick_device("cpu")) in ("fp32", "bf16")
