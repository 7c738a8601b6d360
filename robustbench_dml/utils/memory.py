"""Reuse of freed CPU memory, and the lack of memory on any device."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from robustbench_dml.utils.errors import RbdmlError, reason

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # constants of glibc's malloc.h
LARGEST = 2**31 - 1  # bytes; both thresholds are C integers
LACKING = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")  # in PyTorch's messages
ONCE_LARGEST = 2**25  # largest block that an older glibc takes from its heap


@functools.cache
def keep_freed_memory() -> bool:
    """Keep freed memory for the next tensor instead of returning it to the system.

    By default glibc maps every tensor above 32 MiB anew, and the system fills it with zeros page by page. That takes a
    third of an adversarial training step of ResNet-18. The setting holds for the whole process, which never shrinks.

    Returns:
        True if the C library accepts the setting.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    # Setting the second alone, if the first is refused, would freeze the mapping threshold at its small default.
    accepted = any(mallopt(M_MMAP_THRESHOLD, most) for most in (LARGEST, ONCE_LARGEST))
    return bool(accepted and mallopt(M_TRIM_THRESHOLD, LARGEST))


def is_out_of_memory(error: BaseException) -> bool:
    """Return true if memory could not be allocated, on a GPU or on the CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in LACKING)


def lack_of_memory(error: BaseException, remedy: str) -> str:
    """Return one line with the cause and the remedy."""
    return f"out of memory ({reason(error, 90)}): {remedy}"


@contextmanager
def enough_memory(remedy: str) -> Iterator[None]:
    """Name a remedy if the memory does not suffice.

    Raises:
        RbdmlError: memory could not be allocated.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise RbdmlError(lack_of_memory(error, remedy)) from None
