from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from robustbench_dml.utils import precision
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.precision import (
    best_precision,
    bfloat16,
    check_precision,
    products_in,
    resolve_precision,
    weights_unchanged,
)

CPU = torch.device("cpu")
BACKENDS: Any = torch.backends
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
    assert resolve_precision(given, CPU, float32=True)["precision"] == "fp32"
    assert resolve_precision({"precision": None}, CPU, unset=True) == {"precision": None}  # auto on CUDA alone


def settings_of_products() -> list[str]:
    """The formats of float32 products: of matrices, convolutions and recurrent layers, on CUDA and on the CPU."""
    parts = [getattr(of, part) for of in (BACKENDS.cudnn, BACKENDS.mkldnn) for part in ("conv", "rnn")]
    return [part.fp32_precision for part in (BACKENDS.cuda.matmul, BACKENDS.mkldnn.matmul, *parts)]


def former_settings() -> tuple[object, ...]:
    """The same by PyTorch's former calls, which raise an error where these cannot express a setting."""
    try:
        return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:
        return ()


SESSIONS: dict[str, Callable[[], None]] = {
    "as PyTorch starts": lambda: None,
    "tf32 for all": lambda: setattr(BACKENDS, "fp32_precision", "tf32"),
    "tf32 for matrices": lambda: setattr(BACKENDS.cuda.matmul, "fp32_precision", "tf32"),
    "by the former calls": lambda: torch.set_float32_matmul_precision("medium"),
}


@pytest.fixture(params=SESSIONS)
def session(request: pytest.FixtureRequest) -> Iterator[None]:
    """A caller's settings, which the next test does not see."""
    parts = (BACKENDS, BACKENDS.cuda.matmul, BACKENDS.mkldnn.matmul)
    before = [part.fp32_precision for part in parts]
    SESSIONS[request.param]()
    yield
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")
    for part, setting in zip(parts, before, strict=True):
        part.fp32_precision = setting


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize(("chosen", "on_cuda"), [("fp32", "ieee"), ("bf16", "ieee"), ("tf32", "tf32")])
def test_products_have_the_format_of_the_precision_and_the_session_stays_as_it_was(chosen: str, on_cuda: str) -> None:
    before, former = settings_of_products(), former_settings()
    with pytest.raises(KeyError), products_in(chosen):
        assert settings_of_products() == [on_cuda, "ieee", on_cuda, on_cuda, "ieee", "ieee"]
        with products_in("fp32"):  # of a scan or a score
            assert set(settings_of_products()) == {"ieee"}
        assert settings_of_products()[0] == on_cuda
        raise KeyError
    assert settings_of_products() == before
    assert former_settings() == former


@pytest.mark.parametrize(("device", "units"), [("cpu", True), ("cuda", False), ("cuda", True)])
def test_tf32_is_refused_where_there_is_none(device: str, units: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a V100 or T4 a record would state it, and the run would be one in float32."""
    monkeypatch.setattr(torch.cuda, "is_tf32_supported", lambda: units)
    fits = device == "cuda" and units
    with nullcontext() if fits else pytest.raises(RbdmlError, match=r"tf32 is a format of CUDA GPUs .* take fp32"):
        check_precision("tf32", torch.device(device))
    check_precision("bf16", torch.device(device))
    check_precision(None, torch.device(device))


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
