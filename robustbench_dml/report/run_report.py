"""Tables and figures of finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robustbench_dml.report.figures.style import StyleName
from robustbench_dml.report.figures.write import write_figures
from robustbench_dml.report.grouping import groups_of_records, short_name
from robustbench_dml.report.per_query import readable_values
from robustbench_dml.report.rows import rows_of
from robustbench_dml.report.tables import record_tables
from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import Record, record_folders
from robustbench_dml.spec.protocols import evaluated_columns


def plot_all(folder: Path, out: Path, style: StyleName = "screen") -> tuple[list[Path], list[str]]:
    """Draw every group of comparable records below a folder.

    The figures of a single group go to `out`, those of several groups to `out/<data set>-<hash>/`.

    Returns:
        The files, and a message for each record left out.
    """
    groups, damaged = groups_of_records(folder)
    paths = []
    for group in groups:
        target = out if len(groups) == 1 else out / f"{group[0].spec.dataset_folder}-{short_name(group)}"
        paths += draw(group, target, above=folder, style=style)
    return paths, damaged


def draw(
    records: Sequence[Record], folder: Path, *, above: Path | None = None, style: StyleName = "screen"
) -> list[Path]:
    """Write the figures of comparable records.

    Args:
        records: at least one.
        folder: the folder for the figures, created if missing.
        above: folder that contains the records' folders; their per-query values give intervals over seeds.
        style: size and file formats.

    Raises:
        RbdmlError: the folder cannot be written to.
    """
    return write_figures(rows_of(records, _values(records, above)), folder, style)


def show(records: list[Record], *, marked: str | None = None, folder: Path | None = None) -> str:
    """Return the tables of comparable records.

    Args:
        records: at least one.
        marked: digest of the run to mark.
        folder: folder that contains the records' folders; their per-query values make intervals exact.
    """
    rows = rows_of(records, _values(records, folder))
    return record_tables(rows, evaluated_columns(records[0].spec.evaluation), marked=marked)


def _values(records: Sequence[Record], above: Path | None) -> dict[str, Values]:
    folders = {} if above is None else {path.name: path for path in record_folders(above)}
    return readable_values(records, folders)
