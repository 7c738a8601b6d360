"""Which records may stand in one table, and what is shown of them."""

from __future__ import annotations

from pathlib import Path

from robustbench_dml.errors import RbdmlError
from robustbench_dml.evaluation import protocol_columns
from robustbench_dml.records import Record, find_records, read_record, record_folders
from robustbench_dml.report.plots import write_plots
from robustbench_dml.report.tables import record_tables


def comparable_records(record: Record, folder: Path) -> tuple[list[Record], list[str]]:
    """The records below a folder with this one's data set (and files), backbone and evaluation, itself included.

    A record that cannot be read does not spoil the others: the second value says what is wrong with each.
    """
    found, damaged = [], []
    for path in record_folders(folder):
        try:
            found.append(read_record(path))
        except RbdmlError as error:
            damaged.append(str(error))
    return [other for other in found if _class_of(other) == _class_of(record)], damaged


def groups_of_records(folder: Path) -> list[list[Record]]:
    """All records below a folder, those that may be compared together.

    Raises:
        RbdmlError: there is none.
    """
    groups: dict[str, list[Record]] = {}
    for record in find_records(folder):
        groups.setdefault(_class_of(record), []).append(record)
    if not groups:
        raise RbdmlError(f"no records below {folder}: make one with `rbdml run`, or name another folder")
    return list(groups.values())


def plot_all(folder: Path, out: Path) -> list[Path]:
    """Draw every group of comparable records below a folder.

    One group's plots go into `out` itself, several groups' into `out/<data set>-<number>/`.
    """
    groups, paths = groups_of_records(folder), []
    for number, group in enumerate(groups):
        target = out if len(groups) == 1 else out / f"{group[0].spec.dataset}-{number}"
        paths += draw(group, target)
    return paths


def draw(records: list[Record], folder: Path) -> list[Path]:
    """Both plots of comparable records, into a folder that is made where it is missing.

    Raises:
        RbdmlError: it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return write_plots(records, folder)
    except OSError as error:
        raise RbdmlError(f"cannot write plots to {folder} ({error.strerror}): name another --out") from None


def show(records: list[Record], *, marked: str | None = None) -> str:
    """The tables of comparable records."""
    return record_tables(records, protocol_columns(records[0].spec.evaluation.protocol), marked=marked)


def _class_of(record: Record) -> str:
    spec, files = record.spec, sorted(record.provenance.dataset_files.items())
    return f"{spec.dataset} {files} {spec.backbone} {spec.evaluation.model_dump_json()}"
