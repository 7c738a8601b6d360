"""How the process deals with the memory of large tensors on the CPU."""

from __future__ import annotations

import ctypes
import functools
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST = 2**31 - 1  # bytes; both thresholds are C integers
ONCE_LARGEST = 2**25  # of blocks that an older glibc takes from its heap


@functools.cache
def keep_freed_memory() -> bool:
    """Use freed memory again instead of giving it back to the system.

    By default glibc maps every tensor above 32 MiB anew and the system fills it with zeros page by page, which takes a
    third of an adversarial training step of ResNet-18. Holds for the whole process, which stays as large as it
    once was.

    Returns:
        Whether the C library could be told to.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    # The second alone, where the first is refused, would freeze the threshold of mapping at its small beginning.
    told = any(mallopt(M_MMAP_THRESHOLD, most) for most in (LARGEST, ONCE_LARGEST))
    return bool(told and mallopt(M_TRIM_THRESHOLD, LARGEST))
