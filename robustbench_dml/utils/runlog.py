"""The log of a run: one JSON object a line, appended to by every process that works on it."""

from __future__ import annotations

import datetime
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.progress import Progress
from robustbench_dml.utils.terminal import one_line

LOG_FILE = "log.jsonl"


class RunLog:
    """Appends events to a file. A run does not depend on it: what cannot be written is left out."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: of the run. The file is opened for each event alone, so the folder may be moved in between.
        """
        self.path = folder / LOG_FILE

    def write(self, event: str, **values: Any) -> None:
        """Append one line.

        Args:
            event: its kind.
            values: JSON values; a number that is not finite becomes null, which JSON has for it.
        """
        time = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": time, "event": event, **_plain(values)}, allow_nan=False) + "\n"
        with suppress(OSError), self.path.open("a+b") as file:
            file.write(b"\n" * _torn(file) + line.encode())

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Write how the work inside ends, where it ends early. What was refused or given up at once leaves no log."""
        try:
            yield
        except BaseException as error:
            if isinstance(error, (RbdmlError, OSError, KeyboardInterrupt)) and not self._tells():
                with suppress(OSError):
                    self.path.unlink()
            elif isinstance(error, KeyboardInterrupt):
                self.write("interrupted")
            else:
                self.write("failed", error=type(error).__name__, message=one_line(str(error)))
            raise

    def _tells(self) -> bool:
        """Whether anything was done."""
        return any(event["event"] != "start" for event in read_log(self.path.parent))


@dataclass(frozen=True, kw_only=True)
class LoggedProgress(Progress):
    """Says what it is told to, and writes it to the log as a warning."""

    log: RunLog

    def say(self, message: str) -> None:
        """One line on standard error, unless quiet, and one in the log."""
        super().say(message)
        self.log.write("warning", message=message)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The events of a run, oldest first; lines that were cut off are left out.

    Args:
        folder: of the run; one without a log has no events.
    """
    try:
        lines = (folder / LOG_FILE).read_bytes().splitlines()
    except OSError:
        return []
    return [event for event in map(_read, lines) if event is not None]


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:  # no JSON, or no UTF-8
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _torn(file: BinaryIO) -> bool:
    """Whether the last line has no end: a process was killed, or the disk was full, while it was written."""
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def _plain(value: Any) -> Any:
    """The same without numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
