"""The data of the page: boards, their rows and runs, and the reported results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from robustbench_dml.evaluation.diagnostics.findings import MEANINGS
from robustbench_dml.leaderboard.board import Board
from robustbench_dml.leaderboard.entries import RECORDS
from robustbench_dml.leaderboard.page.appearance import StylesByBoard, drawn, family_colours, name_of, styles_by_board
from robustbench_dml.leaderboard.page.compact import Shared, brief
from robustbench_dml.leaderboard.page.run_data import run_data
from robustbench_dml.report.deviations import changed_training
from robustbench_dml.report.figures.style import family_of
from robustbench_dml.report.published import NAMES, Reported
from robustbench_dml.report.rows import Row
from robustbench_dml.report.tables import decimals
from robustbench_dml.spec.columns import Column
from robustbench_dml.spec.describe import describe_evaluation
from robustbench_dml.spec.protocols import BENIGN_COLUMNS, protocol_columns
from robustbench_dml.spec.registry import ATTACKS, DEFENSES
from robustbench_dml.spec.schema import Evaluation
from robustbench_dml.spec.scores import CHANCE, scores_of

Data = dict[str, Any]


def page_data(boards: Sequence[Board], reported: Sequence[Reported]) -> Data:
    """Return everything in the page as JSON values; the same boards give the same data.

    `common`, `spec` and the first items of `measured` and `differences` are indices in `shared`.
    """
    shared, styles = Shared(), styles_by_board(boards, reported)
    return {
        "families": family_colours(),
        "boards": [_board(board, styles, shared) for board in sorted(boards, key=lambda board: not board.ranking)],
        "reported": [_reported(one, styles) for one in reported],
        "reportedColumns": _reported_columns(),
        "flags": MEANINGS,
        "papers": _papers(boards),
        "shared": shared.values,
    }


def _papers(boards: Sequence[Board]) -> dict[str, list[str]]:
    """Return the sources of the boards' defenses and of all attacks, each with their names."""
    labels = {row.label for board in boards for row in board.rows}
    papers: dict[str, list[str]] = {}
    for info in (*(info for info in DEFENSES if info.name in labels), *ATTACKS):
        papers.setdefault(info.paper, []).append(info.name)
    return papers


def protocol_line(evaluation: Evaluation) -> str:
    """Describe an evaluation completely, in one line."""
    also = [f"also {', '.join(evaluation.extra_attacks)}"] if evaluation.extra_attacks else []
    steps = f"steps in {evaluation.precision}"
    return ", ".join([describe_evaluation(evaluation), f"draws from seed {evaluation.seed}", steps, *also])


def _board(board: Board, styles: StylesByBoard, shared: Shared) -> Data:
    columns = _columns(board)
    names = [column["name"] for column in columns]
    records = [record for row in board.rows for record in row.records]
    return {
        "name": board.name,
        "dataset": board.dataset,
        "network": board.network,
        "records": f"{quote(records[0].spec.dataset_folder)}/{RECORDS}",
        "line": protocol_line(board.evaluation),
        "main": board.main,
        "leader": board.leader,
        "common": board.common_flags,
        "evaluation": board.evaluation.model_dump(mode="json"),
        "chance": next((brief(record.benign[CHANCE]) for record in records if CHANCE in record.benign), None),
        "score": records[0].score,
        "columns": columns,
        "rows": [
            _row(board, row, names, styles, shared, section=section)
            for section, rows in board.sections.items()
            for row in rows
        ],
    }


def _columns(board: Board) -> list[Data]:
    """List the columns of values: scores, then benign, then attacked."""
    evaluation = board.evaluation
    counted = protocol_columns(evaluation.protocol)
    scores = scores_of(evaluation.protocol, counted)
    return [
        *(_column(score.name, "scores", score.meaning, better=1) for score in scores),
        *(_column(name, "benign", meaning, better=1) for name, meaning in BENIGN_COLUMNS.items()),
        *(_attacked(column, counts=name in counted) for name, column in board.columns.items()),
    ]


def _column(name: str, group: str, meaning: str, *, better: int) -> Data:
    return {"name": name, "group": group, "meaning": meaning, "better": better, "decimals": decimals(name)}


def _attacked(column: Column, *, counts: bool) -> Data:
    """Add the linear map from the value to the scale of the score, 100 best."""
    data = _column(column.name, "attacked", column.meaning, better=1 if column.ers_slope > 0 else -1)
    return {**data, "slope": column.ers_slope, "offset": column.ers_offset, "counts": counts}


def _row(board: Board, row: Row, names: Sequence[str], styles: StylesByBoard, shared: Shared, *, section: str) -> Data:
    first = row.records[0]
    passes, declared = board.passes(row)
    spec = first.spec.model_dump(mode="json", exclude={"seed", "evaluation"})
    return {
        "key": row.key,
        "name": row.name,
        "label": row.label,
        "written": name_of(row),
        "family": family_of(row.label),
        **drawn(styles[board.dataset, board.network][name_of(row)]),
        "rank": row.rank,
        "standing": str(row.standing),
        "section": section,
        "notAbove": row.not_above,
        "ers": None if row.key not in board.ers else brief(board.ers[row.key]),
        "eta": row.eta,
        "nominal": None if first.cost is None else first.cost.nominal_per_iteration,
        "metered": None if row.metered is None else brief(row.metered),
        "budget": row.budget or None,
        "settings": changed_training(first.spec, column=row.eta),
        "status": board.status(row),
        "flags": row.flags,
        "disqualifying": row.disqualifying,
        "passes": None if passes is None else brief(passes),
        "declared": declared,
        "values": [_value(row, name) for name in names],
        "spec": shared.index(spec),
        "runs": [
            run_data(board.listed[record.digest], record, names, shared, alone=len(row.records) == 1)
            for record in row.records
        ],
    }


def _value(row: Row, name: str) -> list[float] | None:
    """List the mean, the ends of the 95% interval, the least and the greatest seed, as far as they exist."""
    if name not in row.values:
        return None
    parts = [row.values[name], *row.intervals.get(name, ())]
    several = row.spread[name] if len(row.records) > 1 and name in row.intervals else ()
    return [brief(value) for value in (*parts, *several)]


def _reported(one: Reported, styles: StylesByBoard) -> Data:
    return {
        "dataset": one.dataset,
        "network": one.backbone,
        "defense": one.defense,
        "family": family_of(one.defense),
        **drawn(styles[one.dataset, one.backbone][one.defense]),
        "eta": one.eta,
        "collapsed": one.collapsed,
        "values": one.values,
        "source": one.source,
    }


def _reported_columns() -> list[Data]:
    """List the columns of reported results: those of protocol `ers-published`, as in the code of the papers."""
    known = protocol_columns("ers-published")
    columns = {name: _column(name, "benign", meaning, better=1) for name, meaning in BENIGN_COLUMNS.items()}
    columns |= {name: _attacked(column, counts=True) for name, column in known.items()}
    columns |= {score.name: _column(score.name, "scores", score.meaning, better=1) for score in scores_of("ers", known)}
    return [columns[name] for name in sorted(NAMES.values(), key=lambda name: name != "ERS")]
