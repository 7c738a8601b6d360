"""Boards: entries that can be compared in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from robustbench_dml.leaderboard.best_known import lowered
from robustbench_dml.leaderboard.entries import Listed, read_all
from robustbench_dml.report.completeness import require_complete
from robustbench_dml.report.grouping import grouped, short_name
from robustbench_dml.report.per_query import readable_values
from robustbench_dml.report.ranking import Standing
from robustbench_dml.report.rows import Row, rows_of
from robustbench_dml.report.tables import cell, doubts, score_cell, title
from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.columns import Column
from robustbench_dml.spec.make import published_evaluation
from robustbench_dml.spec.options import DEFAULT_PROTOCOL
from robustbench_dml.spec.protocols import evaluated_columns
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.spec.schema import Evaluation

HEADINGS = {Standing.BASELINE: "Baselines", Standing.MODEL: "Models from elsewhere"}


@dataclass(frozen=True, kw_only=True)
class Board:
    """Entries of one data set (and its files), backbone and evaluation."""

    dataset: str
    network: str | None  # the backbone; None if all models are external
    evaluation: Evaluation
    main: bool  # the published backbone and evaluation of the data set
    folder: Path  # folder of its table and plots; inside the data set's folder unless `main`
    rows: tuple[Row, ...]  # section by section, the best of each first
    listed: dict[str, Listed]  # its entries, by the digest of the record
    ers: dict[str, float]  # ERS of the same weights on another board, as published, by the key of the row

    @property
    def columns(self) -> dict[str, Column]:
        """The attacked columns by name."""
        return evaluated_columns(self.evaluation)

    @property
    def title(self) -> str:
        """Data set, backbone and evaluation in one line."""
        return title([record for row in self.rows for record in row.records])

    @property
    def sections(self) -> dict[str, list[Row]]:
        """The rows by heading: a section for each budget, then baselines and models from elsewhere."""
        return sections_of(self.rows)

    @property
    def ranking(self) -> bool:
        """True for the protocol that ranks."""
        return self.evaluation.protocol == DEFAULT_PROTOCOL

    @property
    def leader(self) -> str:
        """The best trained defense and the baselines, in a sentence; empty without such a defense."""
        trained = [row for row in self.rows if row.standing in (Standing.RANKED, Standing.PROVISIONAL)]
        if not trained:
            return ""
        best = max(trained, key=lambda row: row.values[row.score])
        value = score_cell(best.score, best.values[best.score], best.intervals[best.score])
        by_seed = ", ".join(cell(record.score, record.primary_score) for record in best.records)
        seeds = "1 seed" if len(best.seeds) == 1 else f"{len(best.seeds)} seeds: {by_seed}"
        baselines = [row for row in self.rows if row.standing is Standing.BASELINE]
        beside = ", ".join(f"{row.label} {cell(row.score, row.values[row.score])}" for row in baselines)
        eta = f", eta {best.eta}" if best.eta else ""
        standing = "" if best.standing is Standing.RANKED else "provisional, "
        return (
            f"{best.name}{eta}, has the highest {best.score}: {value} ({standing}{seeds}, budget: {best.budget})."
            + (f" Baselines: {beside}." if beside else "")
        )

    @property
    def common_flags(self) -> list[str]:
        """The mild flags that all of several rows have, which therefore belong into a caption."""
        shared = set.intersection(*(set(row.flags) - set(row.disqualifying) for row in self.rows))
        return sorted(shared) if len(self.rows) > 1 else []

    def remarks(self, row: Row) -> list[str]:
        """Return what sets a row apart: its flags, and the baseline that it is not above."""
        return [remark for remark in doubts(row) if remark not in self.common_flags]

    @property
    def name(self) -> str:
        """A short and unique name."""
        return self.dataset if self.main else f"{self.dataset}-{self.folder.name}"

    def status(self, row: Row) -> str:
        """Return `verified` if all runs of a row are verified."""
        statuses = {self.listed[record.digest].entry.status for record in row.records}
        return "verified" if statuses == {"verified"} else "self-reported"

    def passes(self, row: Row) -> tuple[float | None, bool]:
        """Return the image passes of one training, and whether the submitter declares them."""
        declared = self.listed[row.records[0].digest].entry.declared_passes
        return (row.passes, False) if row.passes is not None else (declared, declared is not None)


def sections_of(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Group rows by heading, the most expensive budget first; the order within a section stays."""
    sections: dict[str, list[Row]] = {}
    for row in rows:
        sections.setdefault(_heading(row), []).append(row)
    cost = {heading: max(row.passes or 0 for row in group) for heading, group in sections.items()}
    last = list(HEADINGS.values())
    order = sorted(sections, key=lambda heading: (last.index(heading) if heading in last else -1, -cost[heading]))
    return {heading: sections[heading] for heading in order}


def _heading(row: Row) -> str:
    spec = row.records[0].spec
    if not spec.trained_here:
        return HEADINGS[Standing.MODEL]
    if row.standing is Standing.BASELINE or not row.budget:
        return HEADINGS[Standing.BASELINE]
    return f"Budget: {row.budget}"


def read_boards(leaderboards: Path) -> list[Board]:
    """Read all boards. The other boards of a data set follow its main board, the longest first.

    Raises:
        RbdmlError: there is no such folder, or an entry is not valid.
    """
    return boards_of(read_all(leaderboards), leaderboards)


def boards_of(entries: Sequence[Listed], leaderboards: Path) -> list[Board]:
    """Group entries into boards, with the per-query values in their folders.

    Raises:
        RbdmlError: a record lacks values of its evaluation.
    """
    for one in entries:
        require_complete(one.record, one.folder)
    listed = {one.record.digest: one for one in entries}
    ers, lower = _ers_of_weights([one.record for one in entries]), lowered(entries)
    boards = [
        _board(records, {record.digest: listed[record.digest] for record in records}, lower, leaderboards, ers)
        for records in grouped(_counted(one, lower) for one in entries)
    ]
    return sorted(boards, key=_order)


def _counted(one: Listed, lower: Mapping[str, tuple[Record, Values]]) -> Record:
    """The record of an entry with the flags of both evaluations and the best known radii."""
    if one.record.digest not in lower:
        return one.judged
    record, _ = lower[one.record.digest]
    return one.judged.model_copy(update={name: getattr(record, name) for name in ("attacked", "scores", "intervals")})


def _order(board: Board) -> tuple[object, ...]:
    """Sort by data set; then the main board, boards of the protocol that ranks, and the longest."""
    return board.dataset, not board.main, not board.ranking, -len(board.rows), board.folder


def _weights(record: Record) -> tuple[str, str, str]:
    """The weights of a record; a defense may deploy the same weights in another way."""
    return record.spec.dataset, record.spec.label, record.provenance.weights


def _ers_of_weights(records: Sequence[Record]) -> dict[tuple[str, str, str], float]:
    """The ERS of all weights that protocol `ers` has evaluated, on the most queries."""
    known = [record for record in records if record.spec.evaluation.protocol == "ers"]
    known.sort(key=lambda record: record.spec.evaluation.queries or float("inf"))
    return {_weights(record): record.primary_score for record in known}


def _board(
    records: list[Record],
    listed: dict[str, Listed],
    lower: Mapping[str, tuple[Record, Values]],
    leaderboards: Path,
    ers: Mapping[tuple[str, str, str], float],
) -> Board:
    spec = records[0].spec
    network = next((record.spec.network for record in records if record.spec.network), None)
    main = spec.evaluation == published_evaluation(spec.dataset) and network == DATASETS.get(spec.dataset).backbone
    folder = leaderboards / spec.dataset_folder
    inner = f"{network or 'models'}-{spec.evaluation.protocol}-{short_name(records)}"
    values = readable_values(records, {digest: one.folder for digest, one in listed.items()})
    values |= {digest: lower[digest][1] for digest in listed if digest in lower}
    rows = [row for section in sections_of(rows_of(records, values)).values() for row in section]
    known = {row.key: [ers[_weights(record)] for record in row.records if _weights(record) in ers] for row in rows}
    return Board(
        dataset=spec.dataset,
        network=network,
        evaluation=spec.evaluation,
        main=main,
        folder=folder if main else folder / inner,
        rows=tuple(rows),
        listed=listed,
        ers={
            row.key: fmean(known[row.key])
            for row in rows
            if "ERS" not in row.values and len(known[row.key]) == len(row.records)
        },
    )
