"""Tables and figures of finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robustbench_dml.report.figures.style import StyleName
from robustbench_dml.report.figures.write import write_figures
from robustbench_dml.report.grouping import groups_of_records, short_name
from robustbench_dml.report.per_query import ranking_values, readable_values
from robustbench_dml.report.rows import rows_of
from robustbench_dml.report.tables import record_tables
from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import Record, record_folders
from robustbench_dml.spec.protocols import evaluated_columns


def plot_all(folder: Path, out: Path, style: StyleName = "screen") -> tuple[list[Path], list[str]]:
    """Draw every group of comparable records below a folder; the second value is what was left out and why.

    One group's figures go into `out` itself, several groups' into `out/<data set>-<hash of what they share>/`.
    """
    groups, damaged = groups_of_records(folder)
    paths = []
    for group in groups:
        place = out if len(groups) == 1 else out / f"{group[0].spec.dataset_folder}-{short_name(group)}"
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
    return write_figures(rows_of(records, _known(records, above)), folder, style)


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
    return readable_values(records, folders)
