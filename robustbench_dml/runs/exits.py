"""Exit codes of the processes that do runs, and the one-line messages for the user."""

from __future__ import annotations

import errno
from enum import IntEnum

from robustbench_dml.utils.errors import BusyError, DivergedError, RbdmlError
from robustbench_dml.utils.files import is_full

NOT_A_PATH = (errno.ENAMETOOLONG, errno.ELOOP)
INTERRUPTED = "interrupted; the same command goes on from here"


class ExitCode(IntEnum):
    """The ends of a process that does a run. `rbdml` itself uses DONE, FAILED, REFUSED and INTERRUPTED."""

    DONE = 0
    FAILED = 1  # an error in the code; standard error has the traceback
    REFUSED = 2  # bad input or a bad environment
    DIVERGED = 3  # repeating the run would repeat the divergence
    BUSY = 4  # another process is doing the run
    LEFT_ALONE = 5  # another process of the same run ended first
    INTERRUPTED = 130


def exit_code(error: BaseException) -> ExitCode:
    """Return the exit code of a process that an exception ends."""
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(error, DivergedError):
        return ExitCode.DIVERGED
    if isinstance(error, BusyError):
        return ExitCode.BUSY
    return ExitCode.FAILED if message_of(error) is None else ExitCode.REFUSED


def is_left_alone(error: BaseException) -> bool:
    """Return true if torchrun or srun started this process, and another process of the run ended first."""
    from robustbench_dml.utils import distributed  # PyTorch, which `--help` does without

    return isinstance(error, RuntimeError) and distributed.launched() is not None and distributed.is_lost_peer(error)


def message_of(error: BaseException) -> str | None:
    """Return the message for the user, with cause and remedy, or None for an error in the code."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, OSError):
        return _message_of_system(error)
    if isinstance(error, MemoryError | RuntimeError):
        return _message_of_memory(error)
    return str(error) if isinstance(error, RbdmlError) else None


def _message_of_memory(error: MemoryError | RuntimeError) -> str | None:
    from robustbench_dml.utils.memory import is_out_of_memory, lack_of_memory  # PyTorch, which `--help` does without

    return lack_of_memory(error, "use a device with more of it") if is_out_of_memory(error) else None


def _message_of_system(error: OSError) -> str | None:
    if isinstance(error, PermissionError):
        return f"{error.filename}: no permission: change its permissions, or name another file or folder"
    if is_full(error):
        return f"{error.filename or 'a file'}: {error.strerror}: free some space, then give the same command again"
    if error.errno in NOT_A_PATH:
        return f"{str(error.filename)[:100]}: {error.strerror}: name another file or folder"
    return None
