"""Scalars for TensorBoard, written beside the log of a run."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from robustbench_dml.utils.errors import RbdmlError

EVENTS = "events.out.tfevents"  # what TensorBoard looks for in the names of files


class Scalars:
    """One event file of this process. It is opened for each step alone: no thread, and the folder may be moved."""

    def __init__(self, folder: Path, *, step: int) -> None:
        """
        Args:
            folder: of the run.
            step: the one that comes next; what an earlier process wrote of it and of later ones is superseded.

        Raises:
            RbdmlError: TensorBoard is not installed.
        """
        self._tensorboard = needed()
        self._path = folder / f"{EVENTS}.{time.time_ns() // 1000}.{os.getpid()}"
        started = self._tensorboard.SessionLog(status=self._tensorboard.SessionLog.START)
        self._append(file_version="brain.Event:2")
        self._append(step=step, session_log=started)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append the values of a step; numbers that are not finite are left out, and so is all on a full disk."""
        summary = self._tensorboard.Summary()
        for name, value in values.items():
            if math.isfinite(value):
                summary.value.add(tag=name, simple_value=value)
        self._append(step=step, summary=summary)

    def _append(self, **content: object) -> None:
        event = self._tensorboard.Event(wall_time=time.time(), **content)
        with suppress(OSError), self._path.open("ab") as file:
            self._tensorboard.RecordWriter(file).write(event.SerializeToString())


class _TensorBoard(NamedTuple):
    """What is used of it."""

    Event: Any
    SessionLog: Any
    Summary: Any
    RecordWriter: Any


def needed() -> _TensorBoard:
    """TensorBoard's format and its writer.

    Raises:
        RbdmlError: it is not installed.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError:
        raise RbdmlError("TensorBoard is not installed: pip install 'robustbench-dml[tensorboard]'") from None
    return _TensorBoard(Event, SessionLog, Summary, RecordWriter)
