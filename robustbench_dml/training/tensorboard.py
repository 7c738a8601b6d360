"""TensorBoard scalars beside the log of a run."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from robustbench_dml.utils.errors import RbdmlError

EVENTS = "events.out.tfevents"  # prefix of the file names that TensorBoard reads


class Scalars:
    """The event file of this process. It is opened for each step only, so the run's folder can be moved."""

    def __init__(self, folder: Path, *, step: int) -> None:
        """
        Args:
            folder: folder of the run.
            step: the next step. It supersedes this step and later ones of earlier processes.

        Raises:
            RbdmlError: TensorBoard is not installed.
        """
        self._event, session_log, self._summary, self._writer = needed()
        self._path = folder / f"{EVENTS}.{time.time_ns() // 1000}.{os.getpid()}"
        self._append(file_version="brain.Event:2")
        self._append(step=step, session_log=session_log(status=session_log.START))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append the values of a step. Values that are not finite are skipped, and so are all on a full disk."""
        summary = self._summary()
        for name, value in values.items():
            if math.isfinite(value):
                summary.value.add(tag=name, simple_value=value)
        self._append(step=step, summary=summary)

    def _append(self, **content: object) -> None:
        event = self._event(wall_time=time.time(), **content)
        with suppress(OSError), self._path.open("ab") as file:
            self._writer(file).write(event.SerializeToString())


def needed() -> tuple[Any, Any, Any, Any]:
    """Import Event, SessionLog, Summary and RecordWriter of TensorBoard.

    Raises:
        RbdmlError: it is not installed.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError:
        raise RbdmlError("TensorBoard is not installed: pip install 'robustbench-dml[tensorboard]'") from None
    return Event, SessionLog, Summary, RecordWriter
