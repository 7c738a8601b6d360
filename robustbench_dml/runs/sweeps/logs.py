"""The log of a run: what each of its processes wrote, between a line when it began and one when it ended."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from robustbench_dml.runs.folder import REFUSAL
from robustbench_dml.utils.provenance import now

MARK = "### "
TAIL = 1_000_000  # bytes of a log that are read
INTERRUPTED = (130, -2, -15, 143)  # Ctrl-C and SIGTERM, told by the program or by the system
DIVERGED = "training diverged"  # what `DivergedError` begins with


@dataclass(frozen=True)
class Attempt:
    """What is known of the last process of a run.

    Attributes:
        code: its exit code, minus the signal that killed it; None if nobody was left to see its end.
        seconds: that it took, as far as is known.
        reason: the last line that it wrote.
    """

    code: int | None
    seconds: float
    reason: str

    @property
    def refused(self) -> bool:
        """Whether another process was doing the run."""
        return REFUSAL in self.reason

    @property
    def diverged(self) -> bool:
        """Whether the same run would come to the same."""
        return DIVERGED in self.reason

    @property
    def failed(self) -> bool:
        """Whether it came to an end that nobody asked for."""
        return self.code not in (0, None, *INTERRUPTED) and not self.refused

    @property
    def why(self) -> str:
        """In a few words for a person."""
        if self.code is None:
            return "its process was lost"
        killed = f"killed by signal {-self.code}" if self.code < 0 else ""
        return killed or self.reason.removeprefix("rbdml: ") or f"ended with exit code {self.code}"


def begin(log: BinaryIO, command: str) -> None:
    """Write the line before a process."""
    _write(log, f"{MARK}{now()} on {socket.gethostname()}, process {os.getpid()}: {command}")


def end(log: BinaryIO, code: int, seconds: float) -> None:
    """Write the line after a process."""
    _write(log, f"{MARK}{now()}: exit code {code} after {seconds:.1f} s")


def last_attempt(path: Path) -> Attempt | None:
    """The last process in a log; None if there is no log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    ended = re.fullmatch(rf"{MARK}.*: exit code (-?\d+) after ([\d.]+) s", lines[-1]) if lines else None
    said = [line.strip() for line in lines if line.strip()]
    code, seconds = (int(ended[1]), float(ended[2])) if ended else (None, 0.0)
    reason = said[-2 if ended else -1] if len(said) > 1 else ""
    return Attempt(code, seconds, "" if reason.startswith(MARK) else reason)


def _write(log: BinaryIO, line: str) -> None:
    log.write(f"{line}\n".encode())
    log.flush()
