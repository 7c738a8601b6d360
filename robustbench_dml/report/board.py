"""Which records may stand in one table, and what is shown of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from robustbench_dml.errors import RbdmlError
from robustbench_dml.evaluation import evaluated_columns
from robustbench_dml.figures.look import StyleName
from robustbench_dml.figures.write import write_row_figures
from robustbench_dml.npz import Values
from robustbench_dml.records import Record, read_record, record_folders
from robustbench_dml.registry import DEFENSES
from robustbench_dml.report.per_query import known_values, ranking_values
from robustbench_dml.report.rows import rows_of
from robustbench_dml.report.tables import record_tables
from robustbench_dml.report.whole import require_whole, whole_ones


def comparable_records(record: Record, folder: Path) -> tuple[list[Record], list[str]]:
    """The records below a folder with this one's data set (and files), backbone and evaluation, itself included.

    A model that is not ours has no backbone and stands beside any. A record that cannot be read does not spoil the
    others: the second value says what is wrong with each.

    Raises:
        RbdmlError: this one has not all its values.
    """
    require_whole(record)
    found, damaged = readable_records(folder)
    comparable, partial = _whole([other for other in found if _may_be_compared(other, record)], folder)
    damaged += partial
    return [other for other in comparable if other.digest == record.digest or not is_fake(other)], damaged


def _whole(records: Sequence[Record], folder: Path) -> tuple[list[Record], list[str]]:
    return whole_ones(records, {path.name: path for path in record_folders(folder)})


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


def plot_all(folder: Path, out: Path, style: StyleName = "screen") -> tuple[list[Path], list[str]]:
    """Draw every group of comparable records below a folder; the second value is what was left out and why.

    One group's figures go into `out` itself, several groups' into `out/<data set>-<hash of what they share>/`.
    """
    groups, damaged = groups_of_records(folder)
    paths = []
    for group in groups:
        place = out if len(groups) == 1 else out / f"{group[0].spec.place}-{short_name(group)}"
        paths += draw(group, place, above=folder, style=style)
    return paths, damaged


def draw(
    records: Sequence[Record], folder: Path, *, above: Path | None = None, style: StyleName = "screen"
) -> list[Path]:
    """The figures of comparable records, into a folder that is made where it is missing.

    Args:
        records: at least one.
        folder: where to.
        above: the folder above those of the records, for intervals by the per-query values in them.
        style: the kind of files.

    Raises:
        RbdmlError: it cannot be written to.
    """
    return write_row_figures(rows_of(records, _known(records, above)), folder, style)


def show(records: list[Record], *, marked: str | None = None, folder: Path | None = None) -> str:
    """The tables of comparable records.

    Args:
        records: at least one.
        marked: digest of the run to point out.
        folder: above those of the records, for ranks by the per-query values in them.
    """
    columns = evaluated_columns(records[0].spec.evaluation)
    known = _known(records, folder)
    ranking = {one.digest: ranking_values(one, known[one.digest]) for one in records if one.digest in known}
    return record_tables(records, columns, marked=marked, values=ranking)


def _known(records: Sequence[Record], above: Path | None) -> dict[str, Values]:
    """The per-query values of records by digest, where they are below this folder."""
    folders = {} if above is None else {path.name: path for path in record_folders(above)}
    return known_values(records, folders)


def _may_be_compared(one: Record, other: Record) -> bool:
    networks = {one.spec.network, other.spec.network} - {None}
    return len(networks) < 2 and len({_class_of(record, *networks) for record in (one, other)}) == 1


def _class_of(record: Record, network: str | None = None) -> str:
    spec, files = record.spec, sorted(record.provenance.dataset_files.items())
    return f"{spec.dataset} {files} {network or spec.network} {spec.evaluation.model_dump_json()}"
