"""Which records may stand in one table, and what is shown of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from robustbench_dml.report.completeness import complete_records, require_complete
from robustbench_dml.runs.record import Record, read_record, record_folders
from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.utils.errors import RbdmlError


def comparable_records(record: Record, folder: Path) -> tuple[list[Record], list[str]]:
    """The records below a folder with this one's data set (and files), backbone and evaluation, itself included.

    A model that is not ours has no backbone and stands beside any. A record that cannot be read does not spoil the
    others: the second value says what is wrong with each.

    Raises:
        RbdmlError: this one has not all its values.
    """
    require_complete(record)
    found, damaged = readable_records(folder)
    comparable, partial = _whole([other for other in found if _may_be_compared(other, record)], folder)
    damaged += partial
    return [other for other in comparable if other.digest == record.digest or not is_fake(other)], damaged


def _whole(records: Sequence[Record], folder: Path) -> tuple[list[Record], list[str]]:
    return complete_records(records, {path.name: path for path in record_folders(folder)})


def is_fake(record: Record) -> bool:
    """Whether its defense is one of those that are made to be caught; they stand in no table but their own."""
    return record.spec.label in DEFENSES and DEFENSES.get(record.spec.label).cls.fake


def readable_records(folder: Path) -> tuple[list[Record], list[str]]:
    """All records below a folder, and what is wrong with those that cannot be read."""
    found, damaged = [], []
    for path in record_folders(folder):
        try:
            found.append(read_record(path))
        except RbdmlError as error:
            damaged.append(str(error))
    return found, damaged


def groups_of_records(folder: Path) -> tuple[list[list[Record]], list[str]]:
    """All records below a folder, those that may be compared together; and what is wrong with the unreadable ones.

    Raises:
        RbdmlError: there is none.
    """
    found, damaged = readable_records(folder)
    found, partial = _whole(found, folder)
    damaged += partial
    groups = grouped([one for one in found if not is_fake(one)])
    if not groups and damaged:
        raise RbdmlError(f"no readable record below {folder}; the first: {damaged[0]}")
    if not groups:
        raise RbdmlError(f"no records below {folder}: make one with `rbdml run`, or name another folder")
    return groups, damaged


def grouped(records: Iterable[Record]) -> list[list[Record]]:
    """Records by what they share; a model that has no backbone of ours stands beside those of each."""
    groups: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda one: one.spec.network is None):
        joined = [group for group in groups.values() if _may_be_compared(record, group[0])]
        for group in joined if record.spec.network is None else []:
            group.append(record)
        if record.spec.network is not None or not joined:
            groups.setdefault(_class_of(record), []).append(record)
    return list(groups.values())


def short_name(group: Sequence[Record]) -> str:
    """A name for what comparable records share: the same for the same data files, backbone and evaluation."""
    return hashlib.sha256(_class_of(group[0]).encode()).hexdigest()[:6]


def _may_be_compared(one: Record, other: Record) -> bool:
    networks = {one.spec.network, other.spec.network} - {None}
    return len(networks) < 2 and len({_class_of(record, *networks) for record in (one, other)}) == 1


def _class_of(record: Record, network: str | None = None) -> str:
    spec, files = record.spec, sorted(record.provenance.dataset_files.items())
    return f"{spec.dataset} {files} {network or spec.network} {spec.evaluation.model_dump_json()}"
