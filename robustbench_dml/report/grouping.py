"""Groups of records that may stand in one table."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from robustbench_dml.report.completeness import require_complete
from robustbench_dml.runs.record import Record, read_record, record_folders
from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.utils.errors import RbdmlError


def comparable_records(record: Record, folder: Path) -> tuple[list[Record], list[str]]:
    """Return the records below a folder that share this record's data files, backbone and evaluation, itself included.

    External models have no backbone and are comparable with any.

    Returns:
        The records, and a message for each that is unreadable or incomplete.

    Raises:
        RbdmlError: this record is incomplete.
    """
    require_complete(record)
    records, damaged = _read_all(folder, lambda other: _comparable(other, record))
    return [other for other in records if other.digest == record.digest or not _is_fake(other)], damaged


def groups_of_records(folder: Path) -> tuple[list[list[Record]], list[str]]:
    """Return all records below a folder in comparable groups, and a message for each unreadable or incomplete one.

    Raises:
        RbdmlError: there is no usable record.
    """
    records, damaged = _read_all(folder)
    groups = grouped(record for record in records if not _is_fake(record))
    if not groups and damaged:
        raise RbdmlError(f"no readable record below {folder}; the first: {damaged[0]}")
    if not groups:
        raise RbdmlError(f"no records below {folder}: make one with `rbdml run`, or name another folder")
    return groups, damaged


def grouped(records: Iterable[Record]) -> list[list[Record]]:
    """Return comparable groups; an external model stands in the group of every backbone."""
    groups: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.spec.network is None):
        joined = [group for group in groups.values() if _comparable(record, group[0])]
        for group in joined if record.spec.network is None else []:
            group.append(record)
        if record.spec.network is not None or not joined:
            groups.setdefault(_shared(record), []).append(record)
    return list(groups.values())


def short_name(group: Sequence[Record]) -> str:
    """Return six hexadecimal digits for the data files, backbone and evaluation of comparable records."""
    return hashlib.sha256(_shared(group[0]).encode()).hexdigest()[:6]


def _read_all(folder: Path, wanted: Callable[[Record], bool] = lambda _: True) -> tuple[list[Record], list[str]]:
    """The wanted complete records below a folder, and the messages of the others."""
    records, damaged = [], []
    for path in record_folders(folder):
        try:
            record = read_record(path)
            if wanted(record):
                require_complete(record, path)
                records.append(record)
        except RbdmlError as error:
            damaged.append(str(error))
    return records, damaged


def _is_fake(record: Record) -> bool:
    """Return whether a defense is made to be caught; such defenses stand in separate tables."""
    return record.spec.label in DEFENSES and DEFENSES.get(record.spec.label).cls.fake


def _comparable(first: Record, second: Record) -> bool:
    networks = {first.spec.network, second.spec.network} - {None}
    return len(networks) < 2 and len({_shared(record, *networks) for record in (first, second)}) == 1


def _shared(record: Record, network: str | None = None) -> str:
    """Data files, backbone and evaluation as one string."""
    spec, files = record.spec, sorted(record.provenance.dataset_files.items())
    return f"{spec.dataset} {files} {network or spec.network} {spec.evaluation.model_dump_json()}"
