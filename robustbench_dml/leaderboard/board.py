"""Boards: entries that may stand in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robustbench_dml.leaderboard.entries import Listed, read_all
from robustbench_dml.report.completeness import require_complete
from robustbench_dml.report.grouping import grouped, short_name
from robustbench_dml.report.per_query import readable_values
from robustbench_dml.report.rows import Row, rows_of
from robustbench_dml.report.tables import title
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.columns import Column
from robustbench_dml.spec.make import published_evaluation
from robustbench_dml.spec.protocols import evaluated_columns
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.spec.schema import Evaluation
from robustbench_dml.utils.errors import RbdmlError


@dataclass(frozen=True, kw_only=True)
class Board:
    """Entries of one data set (and its files), backbone and evaluation.

    Attributes:
        dataset: name of the data set.
        network: the backbone; None where all models are from outside of the project.
        evaluation: that all of them share.
        main: whether it is the data set's own backbone and evaluation.
        folder: where its table and plots go: the data set's own for the main board, else one below it.
        rows: of the table, the best first.
        listed: the entries by the digest of their records.
    """

    dataset: str
    network: str | None
    evaluation: Evaluation
    main: bool
    folder: Path
    rows: tuple[Row, ...]
    listed: dict[str, Listed]

    @property
    def columns(self) -> dict[str, Column]:
        """The attacked columns by name."""
        return evaluated_columns(self.evaluation)

    @property
    def title(self) -> str:
        """Data set, backbone and the whole evaluation in a line."""
        return title([record for row in self.rows for record in row.records])

    @property
    def name(self) -> str:
        """A short name that no other board has."""
        return self.dataset if self.main else f"{self.dataset}-{self.folder.name}"

    def status(self, row: Row) -> str:
        """`verified` if all its runs are."""
        found = {self.listed[record.digest].entry.status for record in row.records}
        return "verified" if found == {"verified"} else "self-reported"

    def passes(self, row: Row) -> tuple[float | None, bool]:
        """Image passes of a training, and whether the submitter declares them instead of our meter."""
        declared = self.listed[row.records[0].digest].entry.declared_passes
        return (row.passes, False) if row.passes is not None else (declared, declared is not None)


def read_boards(leaderboards: Path) -> list[Board]:
    """All boards, by data set, the main one first, then those with the most rows: a page opens with the first.

    Raises:
        RbdmlError: an entry that cannot be read, or no such folder.
    """
    if not leaderboards.is_dir():
        raise RbdmlError(f"{leaderboards}: no such folder: name that of the leaderboards with --boards")
    return boards_of(read_all(leaderboards), leaderboards)


def boards_of(entries: Sequence[Listed], leaderboards: Path) -> list[Board]:
    """Entries as boards; their per-query values are read from their folders.

    Raises:
        RbdmlError: a record that has not all values of its evaluation.
    """
    for one in entries:
        require_complete(one.record, one.folder)
    listed = {one.record.digest: one for one in entries}
    boards = [
        _board(records, {record.digest: listed[record.digest] for record in records}, leaderboards)
        for records in grouped(one.judged for one in entries)
    ]
    return sorted(boards, key=lambda board: (board.dataset, not board.main, -len(board.rows), board.folder))


def _board(records: list[Record], listed: dict[str, Listed], leaderboards: Path) -> Board:
    spec = records[0].spec
    network = next((record.spec.network for record in records if record.spec.network), None)
    own = spec.evaluation == published_evaluation(spec.dataset) and network == DATASETS.get(spec.dataset).backbone
    protocol = spec.evaluation.protocol
    folder = leaderboards / spec.dataset_folder
    return Board(
        dataset=spec.dataset,
        network=network,
        evaluation=spec.evaluation,
        main=own,
        folder=folder if own else folder / f"{network or 'models'}-{protocol}-{short_name(records)}",
        rows=tuple(rows_of(records, readable_values(records, {name: one.folder for name, one in listed.items()}))),
        listed=listed,
    )
