"""Precision of networks, and the fastest one for a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

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
def full_float32() -> Iterator[None]:
    """Multiply float32 matrices in float32, even if the process allows a shorter format elsewhere."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def best_precision(device: torch.device) -> Literal["fp32", "bf16"]:
    """Resolve `auto`: bf16 on devices with bfloat16 instructions, else fp32."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if UNITS & _processor_flags() else "fp32"


def resolve_precision(settings: Mapping[str, Any] | None, device: torch.device) -> dict[str, Any]:
    """Replace each precision `auto` in the settings of a training or an evaluation."""
    return {
        name: best_precision(device) if name.endswith("precision") and value == "auto" else value
        for name, value in (settings or {}).items()
    }


def _processor_flags() -> set[str]:
    """Features of the processor, empty if the system does not list them."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.partition(":")[2].split()}
