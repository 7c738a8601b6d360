"""Reuse of freed CPU memory."""

from __future__ import annotations

import ctypes
import functools
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # constants of glibc's malloc.h
LARGEST = 2**31 - 1  # bytes; both thresholds are C integers
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
