"""Choice of the device."""

from __future__ import annotations

import re

import torch

from robustbench_dml.utils.errors import RbdmlError

NAMES = re.compile(r"auto|cpu|cuda(:\d+)?|mps")


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """Return the device called `auto` (CUDA if there is one), `cpu`, `cuda` or `cuda:1`.

    Raises:
        RbdmlError: another name, no such CUDA device, or Apple's `mps`.
    """
    name = device_name(str(name))
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "mps":
        raise RbdmlError("mps has no float64, in which equal distances are told apart: use --device cpu")
    if name != "cpu" and not torch.cuda.is_available():
        raise RbdmlError("there is no CUDA device here that PyTorch can use: use --device cpu")
    device = torch.device(name)
    if device.index is not None and device.type == "cuda" and device.index >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise RbdmlError(f"there is no device '{name}': PyTorch sees cuda:0 to cuda:{last}; use one of them")
    return device


def device_name(name: str) -> str:
    """Return the name of a device, which need not be here.

    Raises:
        RbdmlError: no name of a device.
    """
    if not NAMES.fullmatch(name):
        raise RbdmlError(f"unknown device '{name}': use auto, cpu, cuda or cuda:1")
    return name
