"""Measuring cases in processes of their own, in turn, and the record of what was measured on what."""

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
    """Seconds."""
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def fastest(work: Callable[[], Any], device: torch.device, *, repeat: int = 3, warm: int = 1) -> float:
    """Seconds of the fastest of some calls: what the machine can do when nothing comes between."""
    for _ in range(warm):
        work()
    return min(timed(work, device) for _ in range(repeat))


class Memory:
    """The most that a piece of work holds above what was held before it."""

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
    """Until the device has nothing more to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def run_cases(
    script: Path, names: list[str], *, device: str, rounds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Every case in a process of its own, all of them in turn, `rounds` times; the median of each value.

    One case does not find the memory, the caches or the settings of another, and when the machine's speed drifts
    it does so for all.
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
    """What a figure must not be shown without."""
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
    """The circumstances in one line."""
    changes = " with changes" if record["dirty"] else ""
    return (
        f"{record['device']}, {record['threads']} threads, torch {record['versions']['torch']}, "
        f"commit {(record['commit'] or 'unknown')[:7]}{changes}, {record['created'][:10]}."
    )
