"""MATLAB files, read in a separate process: a damaged file can crash the compiled reader of scipy.

As a program, this module prints a struct array as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from robustbench_dml.utils.errors import RbdmlError

SECONDS = 300
MEMORY = 3_000_000_000  # bytes of address space; scipy takes a third, the annotations of Cars-196 a hundredth
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # each thread takes from the limited memory


def read_pairs(path: Path, variable: str, *, text: str, number: str, what: str) -> list[tuple[str, int]]:
    """Read two fields of every element of a struct array.

    Args:
        path: path of the file.
        variable: name of the struct array.
        text: name of the first field.
        number: name of the second field, a whole number.
        what: description of the expected file, for the message.

    Raises:
        RbdmlError: missing, damaged, or without these fields.
    """
    if not path.is_file():
        raise RbdmlError(f"{path}: missing: get a complete copy of the set")
    program = [sys.executable, "-P", "-m", __name__, str(path.absolute()), variable, text, number]
    try:
        done = subprocess.run(  # noqa: S603 - our own program; no shell reads the path
            program, capture_output=True, timeout=SECONDS, check=False, env={**os.environ, **ONE_THREAD}
        )
        found = json.loads(done.stdout) if done.returncode == 0 else "it crashes its reader"
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        found = type(error).__name__
    if isinstance(found, str):
        raise RbdmlError(f"{path}: not {what} ({found}): get a fresh copy of it")
    return [(name, label) for name, label in found]


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
