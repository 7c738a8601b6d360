"""Choice of the device."""

from __future__ import annotations

import torch

from robustbench_dml.utils.errors import RbdmlError


def pick_device(name: str = "auto") -> torch.device:
    """Return the device called `auto` (CUDA if there is one), `cpu` or `cuda`.

    Raises:
        RbdmlError: another name, or no CUDA device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise RbdmlError(f"unknown device '{name}': use auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise RbdmlError("there is no CUDA device here that PyTorch can use: use --device cpu")
    return torch.device(name)
