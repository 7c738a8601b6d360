"""Targets that read records, entries and per-query values, and all that is shown of them."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from board_support import ENTRY, made_record, made_spec, made_values, write_run
from fuzz.edits import edited
from fuzz.target import Target, shown
from pydantic import TypeAdapter, ValidationError

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.leaderboard.board import boards_of
from robustbench_dml.leaderboard.build import texts
from robustbench_dml.leaderboard.entries import ENTRY_FILE, Listed, read_entry
from robustbench_dml.leaderboard.submission.audit import audit_entry
from robustbench_dml.report.comparison import compare, comparison_text
from robustbench_dml.report.figures.series import layer_of_rows
from robustbench_dml.report.grouping import comparable_records, groups_of_records
from robustbench_dml.report.per_query import readable_values
from robustbench_dml.report.rows import rows_of
from robustbench_dml.report.run_report import show
from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import (
    QUERIES_FILE,
    RECORD_FILE,
    Record,
    Spec,
    read_queries,
    read_record,
    write_queries,
)
from robustbench_dml.utils.files import sha256
from robustbench_dml.utils.terminal import inert

SPEC: TypeAdapter[Any] = TypeAdapter(Spec)


_HONEST: list[Path] = []  # folders of two seeds


def _honest() -> tuple[bytes, bytes]:
    """A record and its per-query values."""
    for seed in range(len(_HONEST), 2):
        spec = made_spec(seed=seed)
        folder = Path(spec.digest).absolute()
        write_run(folder, made_record(spec, made_values(spec)), made_values(spec, seed=seed))
        _HONEST.append(folder)
    return (_HONEST[0] / RECORD_FILE).read_bytes(), (_HONEST[0] / QUERIES_FILE).read_bytes()


def _record(data: bytes, folder: Path) -> None:
    (folder / RECORD_FILE).write_bytes(data)
    read_record(folder)


def _entry(data: bytes, folder: Path) -> None:
    (folder / ENTRY_FILE).write_bytes(data)
    read_entry(folder)


def _queries(data: bytes, folder: Path) -> None:
    (folder / QUERIES_FILE).write_bytes(data)
    read_queries(folder)


def _altered(data: bytes, folder: Path) -> Record:
    """The honest record and values with edits; its digest is that of its spec where it has one."""
    record, _ = _honest()
    tree = edited(json.loads(record), data[1:])
    folder.mkdir(exist_ok=True)
    write_queries(folder, _altered_values(data[0] if data else 0))
    with suppress(KeyError, TypeError):
        tree["provenance"]["queries"] = sha256(folder / QUERIES_FILE)
    with suppress(ValidationError, KeyError, TypeError):
        tree["digest"] = SPEC.validate_python(tree["spec"], strict=False).digest
    (folder / RECORD_FILE).write_text(json.dumps(tree))
    return read_record(folder)


def _altered_values(choice: int) -> Values:
    """Per-query values, one array of which is gone, shorter, of another type or not finite; honest for a low choice."""
    values = made_values(made_spec())
    name = list(values)[choice % len(values)]
    kind = choice // 32
    if kind == 1:
        del values[name]
    elif kind == 2:
        values = {column: one[:5] for column, one in values.items()}
    elif kind == 3:
        values[name] = values[name] > 0.5
    elif kind == 4:
        values[name] = np.full(len(values[name]), np.nan)
    elif kind == 5:
        values["x"] = values.pop(name)
    elif kind == 6:
        values[name] = values[name] * 1e308
    return values


def _tables(data: bytes, folder: Path) -> None:
    """Show the record as `rbdml run` and `rbdml plot` do, beside an honest one of another seed."""
    record = _altered(data, folder / "one")
    (folder / "one").rename(folder / record.digest)
    with suppress(FileExistsError):  # its digest may have become that of the other one
        shutil.copytree(_HONEST[1], folder / _HONEST[1].name)
    records, _ = comparable_records(record, folder)
    shown(inert(show(records, marked=record.digest, folder=folder)))
    folders = {path.name: path for path in folder.iterdir()}
    for group in groups_of_records(folder)[0]:
        layer_of_rows(rows_of(group, readable_values(group, folders)))


def _compared(data: bytes, folder: Path) -> None:
    _altered(data, folder)
    shown(inert(comparison_text(compare(folder, folder))))


def _board(data: bytes, folder: Path) -> None:
    """Build the leaderboards with the record, as `rbdml leaderboard build` does."""
    listed = Listed(_altered(data, folder), ENTRY, folder)
    texts(boards_of([listed], folder), [], folder)


def _audit(data: bytes, folder: Path) -> None:
    """Check the record and an entry with the same edits, as `rbdml leaderboard check` does."""
    record = _altered(data, folder)
    tree = edited(json.loads(ENTRY.model_dump_json()), data[::-1])
    (folder / ENTRY_FILE).write_text(json.dumps(tree))
    found = audit_entry(Listed(record, read_entry(folder), folder), DataPaths(folder))
    assert all(isinstance(line, str) for line in (*found.problems, *found.notes))


def targets() -> list[Target]:
    """All of them; the seeds are made in the current folder."""
    record, queries = _honest()
    edits = [b"", b"\0\0\1\3\7", b"\0\0\x40\0\0\0\x21\3\x10", b"\x21", b"\x85"]
    return [
        Target("record", _record, [record]),
        Target("entry", _entry, [ENTRY.model_dump_json().encode()]),
        Target("queries", _queries, [queries]),
        Target("tables", _tables, edits),
        Target("compared", _compared, edits),
        Target("board", _board, edits),
        Target("audit", _audit, edits),
    ]
