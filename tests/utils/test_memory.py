from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from robustbench_dml.utils import memory
from robustbench_dml.utils.errors import RbdmlError

SCRIPT = """
import resource
import torch
from robustbench_dml.utils.memory import keep_freed_memory

def page_faults():
    for turn in range(20):
        torch.ones(24 * 2**20)  # 96 MiB, freed at once
        if turn == 9:  # the heap has grown to its size
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

default = page_faults()
print(default, page_faults() if keep_freed_memory() else -1)
"""


def test_freed_memory_is_used_again() -> None:
    """By default the system fills each of ten tensors of 96 MiB with zeros, a page at a time."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True, env=environment)
    default, kept = map(int, done.stdout.split())
    if kept < 0:
        pytest.skip("the C library of this system cannot keep freed memory")
    assert kept < default / 4


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("asked for the C library"))
    assert memory.keep_freed_memory.__wrapped__() is False


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert memory.keep_freed_memory.__wrapped__() is False


def test_an_older_glibc_gets_smaller_limits_and_never_the_second_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses blocks above 32 MiB, and telling it to trim at all would freeze the other threshold."""

    def library(most: int) -> SimpleNamespace:
        def mallopt(option: int, value: int) -> int:
            taken = option != memory.M_MMAP_THRESHOLD or value <= most
            told.append((option, value, taken))
            return int(taken)

        return SimpleNamespace(mallopt=mallopt)

    monkeypatch.setattr(sys, "platform", "linux")
    for most, kept in ((memory.LARGEST, True), (2**25, True), (0, False)):
        told: list[tuple[int, int, bool]] = []
        monkeypatch.setattr(ctypes, "CDLL", lambda _, most=most: library(most))
        assert memory.keep_freed_memory.__wrapped__() is kept
        mapped = [value for option, value, taken in told if option == memory.M_MMAP_THRESHOLD and taken]
        assert mapped == ([most] if kept else [])
        assert (told[-1][0] == memory.M_TRIM_THRESHOLD) is kept


def allocate() -> object:
    return torch.empty(2**50)


@pytest.mark.parametrize("lack", [allocate, lambda: bytearray(2**62)])
def test_a_lack_of_memory_is_one_line_with_the_remedy(lack: Callable[[], object]) -> None:
    with pytest.raises(RbdmlError, match=r"^out of memory \(.*\): take less$"), memory.enough_memory("take less"):
        lack()


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), memory.enough_memory("take less"):
        torch.ones(2, 3) @ torch.ones(2, 3)
