"""Measurement of cases, each in a process of its own, with a record of the circumstances."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from robustbench_dml.utils import provenance

Case = Callable[[torch.device], dict[str, float]]  # what was measured, by name


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds of a call."""
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def fastest(work: Callable[[], Any], device: torch.device, *, repeat: int = 3, warm: int = 1) -> float:
    """Return the seconds of the fastest of several calls, the one with the least disturbance."""
    for _ in range(warm):
        work()
    return min(timed(work, device) for _ in range(repeat))


class Memory:
    """Peak memory of a piece of work, above the memory held before it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
        else:
            Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is held now
            self._before = self._peak()

    @property
    def above(self) -> float:
        """GB."""
        peak = torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else self._peak()
        return (peak - self._before) / 1e9

    @staticmethod
    def _peak() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def wait(device: torch.device) -> None:
    """Wait until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def run_cases(
    script: Path, names: list[str], *, device: str, rounds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Run every case in a process of its own, all in turn, `rounds` times. Returns the median of each value.

    So no case inherits memory, caches or settings of another, and a drift of the machine's speed affects all.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names:
            command = [sys.executable, str(script), "--case", name, "--device", device]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - this very script
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
            say(f"{turn + 1}/{rounds} {name}: {found[name][-1]}")
    return {
        name: {value: median(each[value] for each in all_of_it) for value in all_of_it[0]}
        for name, all_of_it in found.items()
    }


def circumstances(device: torch.device) -> dict[str, Any]:
    """Return the circumstances of a measurement."""
    commit, dirty = provenance.source_commit()
    return {
        "device": provenance.device_name(device),
        "cpu": provenance.cpu_name(),
        "threads": torch.get_num_threads(),
        "versions": provenance.versions(),
        "commit": commit,
        "dirty": dirty,
        "created": provenance.now(),
    }


def told(record: dict[str, Any]) -> str:
    """Format the circumstances in one line."""
    changes = " with changes" if record["dirty"] else ""
    return (
        f"{record['device']}, {record['threads']} threads, torch {record['versions']['torch']}, "
        f"commit {(record['commit'] or 'unknown')[:7]}{changes}, {record['created'][:10]}."
    )
