"""Whether a record has the values that tables, plots and comparisons are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from robustbench_dml.runs.record import Record
from robustbench_dml.spec.protocols import evaluated_columns
from robustbench_dml.spec.scores import CHANCE
from robustbench_dml.utils.errors import RbdmlError


def require_complete(record: Record, folder: Path | None = None) -> None:
    """Refuse a record that says less than its evaluation finds: it was altered, or written by another version.

    Args:
        record: that `read_record` took.
        folder: of it, for the message.

    Raises:
        RbdmlError: a value is missing, or its evaluation has an attack or a protocol that is not known here.
    """
    columns = evaluated_columns(record.spec.evaluation)
    missing = [name for name in columns if name not in record.attacked]
    missing += [f"interval of {name}" for name in (*columns, *record.scores) if name not in record.intervals]
    needed = ("R@1", CHANCE) if "sERS" in record.scores else ("R@1",)
    missing += [name for name in needed if name not in record.benign]
    missing += [] if record.scores else ["score"]
    if missing:
        what = record.digest if folder is None else folder
        raise RbdmlError(f"{what}: its record has no {missing[0]}: it was altered, or evaluate its checkpoint again")


def complete_records(records: Iterable[Record], folders: Mapping[str, Path]) -> tuple[list[Record], list[str]]:
    """The records that have all their values, and what is wrong with the others; `folders` are by digest."""
    found, damaged = [], []
    for record in records:
        try:
            require_complete(record, folders.get(record.digest))
        except RbdmlError as error:
            damaged.append(str(error))
        else:
            found.append(record)
    return found, damaged
