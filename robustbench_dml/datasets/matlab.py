"""MATLAB files, read in a separate process: a damaged file can crash the compiled reader of scipy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from robustbench_dml.datasets import matlab_child
from robustbench_dml.utils.errors import RbdmlError

SECONDS = 300
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
    # -P: do not import from the folder of the program.
    program = [sys.executable, "-P", matlab_child.__file__, str(path.absolute()), variable, text, number]
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
