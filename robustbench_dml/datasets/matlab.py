"""MATLAB files, read in a process of their own: a damaged one can crash the compiled reader of scipy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from robustbench_dml.datasets import matlab_child
from robustbench_dml.utils.errors import RbdmlError

SECONDS = 300
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # each would take memory of what there may be


def read_pairs(path: Path, variable: str, *, text: str, number: str, what: str) -> list[tuple[str, int]]:
    """Two fields of every element of a struct array.

    Args:
        path: of the file.
        variable: the struct array.
        text: the first field.
        number: the second one, a whole number.
        what: the file should be, for the message.

    Raises:
        RbdmlError: missing, damaged, or without these fields.
    """
    if not path.is_file():
        raise RbdmlError(f"{path}: missing: get a complete copy of the set")
    # -P: the folder of the program is no place to import from.
    program = [sys.executable, "-P", matlab_child.__file__, str(path.absolute()), variable, text, number]
    try:
        done = subprocess.run(  # noqa: S603 - our own program; the path is one argument, and no shell reads it
            program, capture_output=True, timeout=SECONDS, check=False, env={**os.environ, **ONE_THREAD}
        )
        found = json.loads(done.stdout) if done.returncode == 0 else "it crashes its reader"
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        found = type(error).__name__
    if isinstance(found, str):
        raise RbdmlError(f"{path}: not {what} ({found}): get a fresh copy of it")
    return [(name, label) for name, label in found]
