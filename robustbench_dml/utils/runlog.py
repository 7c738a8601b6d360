"""Log of a run: one JSON object a line, appended by every process that works on the run."""

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
    """Appends events to a file. The run does not depend on it: a failed write is ignored."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: folder of the run. Each event opens the file anew, so the folder may move between events.
        """
        self.path = folder / LOG_FILE

    def write(self, event: str, **values: Any) -> None:
        """Append one line.

        Args:
            event: kind of the event.
            values: JSON values; numbers that are not finite become null.
        """
        time = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": time, "event": event, **_finite(values)}, allow_nan=False) + "\n"
        with suppress(OSError), self.path.open("a+b") as file:
            file.write(b"\n" * _is_torn(file) + line.encode())

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Log an exception that ends the work inside. Work that was refused before any event leaves no log."""
        try:
            yield
        except BaseException as error:
            begun = any(event["event"] != "start" for event in read_log(self.path.parent))
            if isinstance(error, (RbdmlError, OSError, KeyboardInterrupt)) and not begun:
                with suppress(OSError):
                    self.path.unlink()
            elif isinstance(error, KeyboardInterrupt):
                self.write("interrupted")
            else:
                self.write("failed", error=type(error).__name__, message=one_line(str(error)))
            raise


@dataclass(frozen=True, kw_only=True)
class LoggedProgress(Progress):
    """Progress whose messages are logged as warnings, too."""

    log: RunLog

    def say(self, message: str) -> None:
        """Print one line and log it."""
        super().say(message)
        self.log.write("warning", message=message)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the events of a run, oldest first, without torn lines. A run without a log has none."""
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


def _is_torn(file: BinaryIO) -> bool:
    """The last line has no end: a process was killed, or the disk was full, while it was written."""
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
