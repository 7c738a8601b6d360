"""Reads a struct array out of a MATLAB file and prints it as JSON; started by `matlab.py` as a program of its own.

It imports nothing of this package: that would take seconds, and all the memory that it may have.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import Any

MEMORY = 3_000_000_000  # bytes of address space; scipy takes one, the annotations of Cars-196 a hundredth


def main(path: str, variable: str, text: str, number: str) -> None:
    """Print `[[text, number], ...]`, or the name of what went wrong."""
    with suppress(ImportError, OSError, ValueError):  # not every system has such a limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    found: Any
    try:
        from scipy.io import loadmat

        with open(path, "rb") as file:  # noqa: PTH123 - scipy tells a missing file from a damaged one only so
            entries: Any = loadmat(file, squeeze_me=True)[variable].ravel()
        found = [[str(entry[text]), int(entry[number])] for entry in entries]
    except Exception as error:  # whatever scipy makes of a damaged file
        found = type(error).__name__
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
