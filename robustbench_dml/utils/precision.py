"""Precision of networks, and the fastest one for a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

from robustbench_dml.utils.errors import RbdmlError

_backends: Any = torch.backends
_CUDA = (_backends.cuda.matmul, _backends.cudnn.conv, _backends.cudnn.rnn)
_CPU = (_backends.mkldnn.matmul, _backends.mkldnn.conv, _backends.mkldnn.rnn)
UNITS = {"avx512_bf16", "amx_bf16", "bf16"}  # names of bfloat16 instructions; the last one is ARM's
CPUINFO = Path("/proc/cpuinfo")


def bfloat16(device: torch.device) -> AbstractContextManager[None]:
    """Compute convolutions and matrix products in bfloat16, and the rest in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16)


@contextmanager
def weights_unchanged(device: torch.device) -> Iterator[None]:
    """Cast each weight once instead of in every forward pass. The weights may not change inside.

    Do not take gradients of the weights inside: a cast made without gradients is reused.
    """
    with torch.autocast(device.type, enabled=False):  # casts are kept until the outermost autocast ends
        yield


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Compute float32 products and convolutions in float32, or on CUDA in TF32 if that is the precision.

    TF32 keeps 10 of the 23 bits behind the point. The settings of the process are restored at the end.
    """
    wanted = ["tf32" if precision == "tf32" else "ieee"] * len(_CUDA) + ["ieee"] * len(_CPU)
    if _settings() == wanted:  # changing them takes time
        yield
        return
    before, own = _settings(), _own_settings()
    try:
        _set(wanted)
        yield
    finally:
        _set(own)
        if _settings() != before:  # cuDNN's default is none, in effect tf32, and cannot be set again
            _set(before)


def _settings() -> list[str]:
    return [part.fp32_precision for part in (*_CUDA, *_CPU)]


def _own_settings() -> list[str]:
    """The settings, with `none` for those that follow the setting of all parts."""
    of_all, settings, tried = _backends.fp32_precision, _settings(), []
    for setting in ("ieee", "tf32"):
        _backends.fp32_precision = setting
        tried.append(_settings())
    _backends.fp32_precision = of_all
    return [own if one == other else "none" for own, one, other in zip(settings, *tried, strict=True)]


def _set(settings: list[str]) -> None:
    for part, setting in zip((*_CUDA, *_CPU), settings, strict=True):
        part.fp32_precision = setting


def check_precision(precision: str | None, device: torch.device) -> None:
    """Refuse TF32 on a device without it, where a record would state a format that was not used.

    Raises:
        RbdmlError: TF32, and the device has none.
    """
    if precision == "tf32" and not (device.type == "cuda" and torch.cuda.is_tf32_supported()):
        raise RbdmlError("tf32 is a format of CUDA GPUs from compute capability 8.0 on: take fp32, bf16 or auto here")


def best_precision(device: torch.device) -> Literal["fp32", "bf16"]:
    """Resolve `auto`: bf16 on devices with bfloat16 instructions, else fp32."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if UNITS & _processor_flags() else "fp32"


def resolve_precision(
    settings: Mapping[str, Any], device: torch.device, *, unset: bool = False, float32: bool = False
) -> dict[str, Any]:
    """Replace each precision `auto` in the settings of a training or an evaluation.

    Args:
        settings: values by name; None stands for a setting left out.
        device: the device to compute on.
        unset: on CUDA a precision left out is `auto`, too.
        float32: `auto` is fp32 on every device.
    """
    chosen = dict(settings)
    if unset and device.type == "cuda" and chosen.get("precision") is None:
        chosen["precision"] = "auto"
    return {
        name: ("fp32" if float32 else best_precision(device))
        if name.endswith("precision") and value == "auto"
        else value
        for name, value in chosen.items()
    }


def _processor_flags() -> set[str]:
    """Features of the processor, empty if the system does not list them."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.partition(":")[2].split()}
