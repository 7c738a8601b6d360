"""The log of a run in a sweep: the output of each process, between an opening and a closing line."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from robustbench_dml.runs.exits import ExitCode
from robustbench_dml.utils.provenance import now

MARK = "### "
TAIL = 1_000_000  # bytes of a log that are read
STOPPED = (ExitCode.INTERRUPTED, -2, -15, 143)  # Ctrl-C and SIGTERM, reported by the program or by the system


@dataclass(frozen=True)
class Attempt:
    """The last process of a run."""

    code: int | None  # the exit code, minus the signal that killed it; None if its end was not logged
    seconds: float  # the time it took, as far as known
    reason: str  # the last line of its output

    @property
    def failed(self) -> bool:
        """True unless the process was done, busy, stopped on request, or has no logged end."""
        return self.code not in (ExitCode.DONE, ExitCode.BUSY, None, *STOPPED)

    @property
    def why(self) -> str:
        """The failure in a few words."""
        if self.code is None:
            return "its process was lost"
        killed = f"killed by signal {-self.code}" if self.code < 0 else ""
        return killed or self.reason.removeprefix("rbdml: ") or f"ended with exit code {self.code}"


def begin(log: BinaryIO, command: str) -> None:
    """Write the line before a process, with the command that repeats the run."""
    _write(log, f"{MARK}{now()} on {socket.gethostname()}, process {os.getpid()}: {command}")


def end(log: BinaryIO, code: int, seconds: float) -> None:
    """Write the line after a process."""
    _write(log, f"{MARK}{now()}: exit code {code} after {seconds:.1f} s")


def last_attempt(path: Path) -> Attempt | None:
    """Return the last process in a log, or None without a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    ended = re.fullmatch(rf"{MARK}.*: exit code (-?\d+) after ([\d.]+) s", lines[-1]) if lines else None
    output = [line.strip() for line in lines if line.strip()]
    code, seconds = (int(ended[1]), float(ended[2])) if ended else (None, 0.0)
    reason = output[-2 if ended else -1] if len(output) > 1 else ""
    return Attempt(code, seconds, "" if reason.startswith(MARK) else reason)


def _write(log: BinaryIO, line: str) -> None:
    log.write(f"{line}\n".encode())
    log.flush()
