"""Versions, hardware and source commit behind a result."""

from __future__ import annotations

import datetime
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch

from robustbench_dml.utils.distributed import world_size

SOURCE = Path(__file__).resolve().parent
DEPENDENCIES = (
    "robustbench-dml",
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "faiss-cpu",
    "scikit-learn",
    "pytorch-metric-learning",
)


OPTIONAL = ("timm", "transformers")  # counted when a network of theirs may be in use


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the numbers."""
    loaded = [name for name in OPTIONAL if sys.modules.get(name) is not None]
    return {"python": platform.python_version(), **{name: version(name) for name in (*DEPENDENCIES, *loaded)}}


def cpu_name() -> str:
    """Return the name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """Return the name of the device, and the number of processes if several share the run."""
    processes = world_size()
    if device.type == "cuda":
        return ("" if processes == 1 else f"{processes} x ") + torch.cuda.get_device_name(device)
    return f"{cpu_name()} (cpu" + ("" if processes == 1 else f", {processes} processes") + ")"


def peak_memory(device: torch.device) -> int:
    """Return the peak bytes of the GPU, else of this process; 0 if the system does not count them."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def source_commit() -> tuple[str | None, bool | None]:
    """Return the commit of the source and true if it has uncommitted changes; None outside of a checkout."""
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:  # installed into some other checkout
        return None, None
    status = _git("status", "--porcelain")
    return _git("rev-parse", "HEAD"), None if status is None else bool(status)


def _git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(  # noqa: S603 - only words of this file
            ["git", "-C", str(SOURCE), *arguments],  # noqa: S607 - the user's git, wherever it is
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def now() -> str:
    """Return the UTC time in ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
