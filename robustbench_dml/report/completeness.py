"""Completeness of records: tables, plots and comparisons need every value of the evaluation."""

from __future__ import annotations

from pathlib import Path

from robustbench_dml.runs.record import Record
from robustbench_dml.spec.protocols import evaluated_columns
from robustbench_dml.spec.scores import CHANCE
from robustbench_dml.utils.errors import RbdmlError


def require_complete(record: Record, folder: Path | None = None) -> None:
    """Refuse a record that lacks a value: it was altered, or written by another version.

    Args:
        record: read by `read_record`.
        folder: the record's folder, named in the message.

    Raises:
        RbdmlError: a value is missing, or an attack or the protocol is not registered.
    """
    columns = evaluated_columns(record.spec.evaluation)
    missing = [name for name in columns if name not in record.attacked]
    missing += [f"interval of {name}" for name in (*columns, *record.scores) if name not in record.intervals]
    needed = ("R@1", CHANCE) if "sERS" in record.scores else ("R@1",)
    missing += [name for name in needed if name not in record.benign]
    missing += [] if record.scores else ["score"]
    if missing:
        name = record.digest if folder is None else folder
        raise RbdmlError(f"{name}: its record has no {missing[0]}: it was altered, or evaluate its checkpoint again")
