"""Program that prints a struct array of a MATLAB file as JSON, started by `matlab.py`.

It imports nothing of this package: the import would take seconds and exhaust the limited memory.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import Any

MEMORY = 3_000_000_000  # bytes of address space; scipy takes a third, the annotations of Cars-196 a hundredth


def main(path: str, variable: str, text: str, number: str) -> None:
    """Print `[[text, number], ...]`, or the name of an exception."""
    with suppress(ImportError, OSError, ValueError):  # not every system has such a limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    found: Any
    try:
        from scipy.io import loadmat

        with open(path, "rb") as file:  # noqa: PTH123 - so scipy cannot mistake a missing file for a damaged one
            entries: Any = loadmat(file, squeeze_me=True)[variable].ravel()
        found = [[str(entry[text]), int(entry[number])] for entry in entries]
    except Exception as error:  # scipy can raise anything on a damaged file
        found = type(error).__name__
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
