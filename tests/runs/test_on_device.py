from __future__ import annotations

from typing import Any

import pytest
import torch

from robustbench_dml.runs.on_device import evaluation_on, spec_on
from robustbench_dml.spec.make import make_spec, published_evaluation
from robustbench_dml.utils.errors import RbdmlError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
RUN: dict[str, Any] = {"defense": "act", "dataset": "fashion"}


@pytest.fixture(params=["A100", "V100"])
def best(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The better precision of a GPU, with units for bfloat16 and TF32 or without."""
    units = request.param == "A100"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: units or including_emulation)
    monkeypatch.setattr(torch.cuda, "is_tf32_supported", lambda: units)
    return "bf16" if units else "fp32"


def precisions(device: torch.device, **settings: Any) -> tuple[str, str]:
    """Of training and of the attacks."""
    spec = spec_on(device, {**RUN, **settings})
    return spec.training.precision, spec.evaluation.precision


@pytest.mark.parametrize("protocol", ["ers", "radius"])
def test_on_cuda_a_precision_left_out_is_the_best(best: str, protocol: str) -> None:
    """bf16 moves pixels as far as the radii, so the search for radii stays in float32."""
    attack = "fp32" if protocol == "radius" else best
    assert precisions(CUDA, evaluation={"protocol": protocol}) == (best, attack)
    assert precisions(CUDA, evaluation={"protocol": protocol, "precision": "auto"}) == (best, attack)
    assert precisions(CUDA, training={"precision": "fp32"}, evaluation={"protocol": protocol}) == ("fp32", attack)


def test_on_a_cpu_a_precision_left_out_is_fp32() -> None:
    assert spec_on(CPU, RUN) == make_spec(**RUN)  # so records keep their names


def test_tf32_is_recorded(best: str) -> None:
    tf32 = {"precision": "tf32"}
    assert precisions(CUDA, training=tf32, evaluation={**tf32, "protocol": "ers"}) == ("tf32", "tf32")


def test_an_evaluation_of_a_recorded_run_keeps_its_precision(best: str) -> None:
    before = published_evaluation("fashion", "ers")
    assert evaluation_on(CUDA, before, {"steps": 4}).precision == "fp32"
    assert evaluation_on(CUDA, before, {"steps": 4}, unset=True).precision == best
    assert evaluation_on(CUDA, before, {"precision": "auto", "protocol": "radius"}).precision == "fp32"


def test_a_precision_that_the_device_does_not_have_is_refused() -> None:
    with pytest.raises(RbdmlError, match="tf32 is a format of CUDA GPUs"):
        evaluation_on(CPU, published_evaluation("fashion", "ers"), {"precision": "tf32"})
