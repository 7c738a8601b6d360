from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from robustbench_dml.utils import precision
from robustbench_dml.utils.precision import best_precision, bfloat16, resolve_precision, weights_unchanged

CPU = torch.device("cpu")
FLAGS = "flags\t\t: fpu avx512f{}\nmodel name : x\n"


@pytest.fixture(params=["x86 without", "x86 with", "arm with", "unknown"])
def processor(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    text = {
        "x86 without": FLAGS.format(""),
        "x86 with": FLAGS.format(" avx512_bf16"),
        "arm with": "Features\t: fp asimd bf16 i8mm\n",
    }.get(request.param)
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(precision, "CPUINFO", path)
    return str(request.param)


def test_bfloat16_is_best_where_the_processor_has_units_for_it(processor: str) -> None:
    assert best_precision(CPU) == ("bf16" if processor.endswith(" with") else "fp32")


@pytest.mark.parametrize(("emulated", "expected"), [(False, "bf16"), (True, "fp32")])
def test_a_gpu_that_emulates_bfloat16_uses_float32(
    monkeypatch: pytest.MonkeyPatch, emulated: bool, expected: str
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return including_emulation or not emulated

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert best_precision(torch.device("cuda")) == expected


def test_only_precisions_that_are_auto_are_resolved(processor: str) -> None:
    given = {"precision": "auto", "weight_precision": "fp32", "solver": "auto", "eta": None}
    assert resolve_precision(given, CPU) == {**given, "precision": best_precision(CPU)}
    assert resolve_precision(None, CPU) == {}


def test_weights_that_do_not_change_are_cast_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second forward finds the cast of the first, and so does not see a change that it was promised not to."""
    layer, images = nn.Linear(4, 3, bias=False), torch.ones(2, 4)

    def output() -> torch.Tensor:
        with bfloat16(CPU), torch.no_grad():
            found: torch.Tensor = layer(images)
        return found

    with weights_unchanged(CPU):
        before = output()
        layer.weight.data.zero_()
        assert torch.equal(output(), before)
    assert torch.equal(output(), torch.zeros(2, 3))


def test_kept_casts_leave_input_gradients_and_other_arithmetic_alone() -> None:
    layer, images = nn.Linear(4, 3), torch.rand(2, 4, requires_grad=True)

    def gradient() -> torch.Tensor:
        with bfloat16(CPU):
            value = layer(images).sum()
        return torch.autograd.grad(value, images)[0]

    expected = gradient()
    with weights_unchanged(CPU):
        with torch.no_grad(), bfloat16(CPU):
            layer(images)  # the cast is first made without gradient
        assert torch.equal(gradient(), expected)
        assert torch.equal(gradient(), expected)
        assert (images @ images.T).dtype == torch.float32
