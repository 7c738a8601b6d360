"""Which records may stand in one table, and what is shown of them."""

from __future__ import annotations

from pathlib import Path

from robustbench_dml.errors import RbdmlError
from robustbench_dml.evaluation import protocol_columns
from robustbench_dml.records import Record, find_records
from robustbench_dml.report.plots import write_plots
from robustbench_dml.report.tables import record_tables


def comparable_records(record: Record, folder: Path) -> list[Record]:
    """The records below a folder with this one's data set (and files), backbone and evaluation, itself included."""
    return [other for other in find_records(folder) if _class_of(other) == _class_of(record)]


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
        try:
            target.mkdir(parents=True, exist_ok=True)
            paths += write_plots(group, target)
        except OSError as error:
            raise RbdmlError(f"cannot write plots to {target} ({error.strerror}): name another --out") from None
    return paths


def show(records: list[Record], *, marked: str | None = None) -> str:
    """The tables of comparable records."""
    return record_tables(records, protocol_columns(records[0].spec.evaluation.protocol), marked=marked)


def _class_of(record: Record) -> str:
    spec, files = record.spec, sorted(record.provenance.dataset_files.items())
    return f"{spec.dataset} {files} {spec.backbone} {spec.evaluation.model_dump_json()}"
