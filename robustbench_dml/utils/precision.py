"""In which precision networks compute, and which one pays on a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

UNITS = {"avx512_bf16", "amx_bf16", "bf16"}  # what processors call instructions on bfloat16, the last one on ARM
CPUINFO = Path("/proc/cpuinfo")


def bfloat16(device: torch.device) -> AbstractContextManager[None]:
    """Convolutions and matrix products in bfloat16; what must not be rounded so coarsely stays in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16)


@contextmanager
def weights_unchanged(device: torch.device) -> Iterator[None]:
    """Where weights do not change, cast each of them once and not in every forward.

    Not for gradients of the weights: what is cast outside of any gradient is used inside, too.
    """
    with torch.autocast(device.type, enabled=False):  # the casts are kept until the outermost of these ends
        yield


@contextmanager
def full_float32() -> Iterator[None]:
    """Products of float32 matrices in float32, whatever shorter format the process allows for them elsewhere."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def best_precision(device: torch.device) -> Literal["fp32", "bf16"]:
    """What `auto` stands for: bf16 where the device has units for it, and fp32 where it would be emulated."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if UNITS & _processor_flags() else "fp32"


def resolve_precision(settings: Mapping[str, Any] | None, device: torch.device) -> dict[str, Any]:
    """Settings of a training or an evaluation with each precision `auto` as what it is on this device."""
    return {
        name: best_precision(device) if name.endswith("precision") and value == "auto" else value
        for name, value in (settings or {}).items()
    }


def _processor_flags() -> set[str]:
    """What the processor says that it can do; nothing where the system does not tell."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.partition(":")[2].split()}
