"""Boards and reported results as Markdown and CSV."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from tabulate import tabulate

from robustbench_dml.leaderboard.board import Board
from robustbench_dml.leaderboard.page.appearance import name_of as in_papers
from robustbench_dml.report.deviations import changed_training
from robustbench_dml.report.published import NAMES, Reported
from robustbench_dml.report.ranking import Standing
from robustbench_dml.report.rows import Row
from robustbench_dml.report.tables import cell, rank_cell, score_cell
from robustbench_dml.runs.record import RECORD_FILE
from robustbench_dml.spec.budgets import name_of, short_passes
from robustbench_dml.spec.scores import CHANCE
from robustbench_dml.utils.terminal import text_table

LEGEND = """\
*rank*: 1 + the number of significantly better defenses of the same budget (t test over seeds and queries, 5%, Holm's
correction for all pairs of the board); *provisional*: fewer than three seeds. Values are means over the seeds; +-:
half the 95% interval over seeds and queries, or over the queries alone while a board has too few seeds. *not above*:
not significantly above this baseline. *passes*: image passes of one training, metered (one image forward and
backward; a forward alone is a third); *declared* where only the submitter says so. *cost*: passes of the batch per
iteration, eta+1 as papers count it and, in brackets, as metered. *verified*: the checkpoint was evaluated again on a
part of the queries and agreed. CA, QA: rank percentiles; TMA: cosine; ES:D: distance; MR: radius in 1/255; the rest
in %."""
REPORTED_LEGEND = """\
As printed by their authors and computed with their code; never mixed with records of ours. *collapsed*: the authors
report that training collapsed."""
ERS = "ERS as published"
SHORT = ("rank", "defense", "eta", "MR", "AutoRank", "R@1", "ERS", ERS, "passes")  # what fits on a narrow page
LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
Cells = Mapping[str, object]


def board_markdown(board: Board) -> str:
    """Write a board: cost and retrieval of each row, then its values under attack."""
    address = ("" if board.main else "../") + "records"
    parts = [f"**{plain(board.title)}**", *_common(board)]
    for heading, rows in board.sections.items():
        parts += [f"## {heading}", _markdown([_cost_cells(board, row, address) for row in rows])]
    attacks = _markdown([_attack_cells(board, row) for row in board.rows])
    return "\n\n".join([*parts, "## Under attack", attacks, LEGEND]) + "\n"


def board_top(board: Board, most: int) -> str:
    """Write the first rows of a board and all its baselines, with the few columns that fit on a narrow page."""
    baselines = [row for row in board.rows if row.standing is Standing.BASELINE][:most]
    others = [row for row in board.rows if row not in baselines][: most - len(baselines)]
    short = [_short_cells(board, row) for row in (*others, *baselines)]
    return f"{plain(board.title)}\n\n{_markdown([{**one, 'defense': plain(str(one['defense']))} for one in short])}\n"


def board_text(board: Board) -> str:
    """Write a board for a terminal: its narrow columns."""
    return f"{board.title}\n\n{text_table(_short_cells(board, row) for row in board.rows)}"


def board_latex(board: Board) -> str:
    """Write the narrow columns of a board as a LaTeX tabular, for the package booktabs; names as in papers."""
    rows = [{**_short_cells(board, row), "defense": in_papers(row)} for row in board.rows]
    cells = [{_latex(name): _latex(str(value)) for name, value in row.items()} for row in rows]
    columns = "lll" + "r" * (len(cells[0]) - 3)
    return f"% {board.title}\n" + pd.DataFrame(cells).to_latex(index=False, column_format=columns)


def _latex(text: str) -> str:
    escaped = "".join(f"\\{char}" if char in "&%$#_{}" else LATEX.get(char, char) for char in text)
    return escaped.replace(" +- ", r" $\pm$ ")


def _short_cells(board: Board, row: Row) -> dict[str, object]:
    """Return what fits on a narrow page."""
    cells = {**_cost_cells(board, row, ""), "defense": row.name}
    return {name.removesuffix(" as published"): cells[name] for name in SHORT if name in cells}


def board_csv(board: Board) -> str:
    """Write a line per row: mean over the seeds, interval, and least and greatest seed of every value."""
    return _csv([_csv_cells(board, row) for row in board.rows])


def reported_markdown(reported: Iterable[Reported]) -> str:
    """Write the reported results: a table for each data set and backbone, in the order of the file."""
    groups: dict[tuple[str, str], list[Reported]] = {}
    for one in reported:
        groups.setdefault((one.dataset, one.backbone), []).append(one)
    parts = [
        f"## {dataset}, {backbone}, as reported\n\n" + _markdown([_reported_cells(one) for one in group])
        for (dataset, backbone), group in groups.items()
    ]
    return "\n\n".join(["# As reported", REPORTED_LEGEND, *parts]) + "\n"


def plain(text: str) -> str:
    """Escape a text for Markdown."""
    escaped = html.escape(text, quote=False)
    return "".join(f"\\{char}" if char in "|*_`[]\\" else char for char in escaped)


def _name_cells(row: Row) -> Cells:
    return {
        "rank": rank_cell(row),
        "defense": plain(row.name),
        "eta": "-" if row.eta is None else row.eta,
    }


def _cost_cells(board: Board, row: Row, address: str) -> Cells:
    passes, declared = board.passes(row)
    return {
        **_name_cells(row),
        "settings": plain(settings_of(row)),
        "seeds": seed_links(row, address),
        "status": board.status(row),
        "passes": "-" if passes is None else short_passes(passes) + (" declared" if declared else ""),
        "cost": "-" if row.eta is None else f"{row.eta + 1} ({row.metered:.1f})",
        **{name: f"{row.values[name]:.1f}" for name in row.records[0].benign if name != CHANCE},
        **{name: score_cell(name, row.values[name], row.intervals[name]) for name in row.records[0].scores},
        **_ers_cell(board, row),
        f"{row.score} by seed": _by_seed(row),
        "flags": plain(", ".join(board.remarks(row))),
    }


def _common(board: Board) -> list[str]:
    """A caption with the flags of all rows, if there are any."""
    return [f"All rows: {plain(', '.join(board.common_flags))}."] if board.common_flags else []


def _ers_cell(board: Board, row: Row) -> dict[str, str]:
    """The ERS of the same weights, on a board whose rows have no ERS of their own."""
    return {ERS: f"{board.ers[row.key]:.1f}" if row.key in board.ers else "-"} if board.ers else {}


def _attack_cells(board: Board, row: Row) -> Cells:
    return {
        **_name_cells(row),
        **{name: score_cell(name, row.values[name], row.intervals[name]) for name in board.columns},
        **{name: cell(name, row.values[name]) for name in row.records[0].scores},
    }


def _csv_cells(board: Board, row: Row) -> Cells:
    passes, declared = board.passes(row)
    first = row.records[0]
    return {
        "rank": row.rank,
        "standing": str(row.standing),
        "budget": row.budget,
        "defense": row.label,
        "parameters": "; ".join(f"{name}={value}" for name, value in sorted(first.spec.params.items())),
        "eta": row.eta,
        "settings": settings_of(row),
        "seeds": " ".join(map(str, row.seeds)),
        "status": board.status(row),
        "passes": passes,
        "passes are": None if passes is None else "declared" if declared else "metered",
        "metered per iteration": row.metered,
        "flags": "; ".join(row.flags),
        "disqualifying": "; ".join(row.disqualifying),
        "not above": row.not_above,
        **({ERS: board.ers.get(row.key)} if board.ers else {}),
        **{
            f"{name}{what}": value
            for name, mean in row.values.items()
            for what, value in zip(
                ("", " low", " high", " least seed", " greatest seed"),
                (mean, *row.intervals.get(name, (None, None)), *row.spread[name]),
                strict=True,
            )
        },
        "records": " ".join(record.digest for record in row.records),
    }


def _reported_cells(one: Reported) -> Cells:
    return {
        "defense": plain(one.defense),
        "eta": "-" if one.eta is None else one.eta,
        **{name: f"{one.values[name]:g}" if name in one.values else "" for name in NAMES.values()},
        "": "collapsed" if one.collapsed else "",
        "source": plain(one.source),
    }


def settings_of(row: Row) -> str:
    """List the budget, and the training settings that differ from the published settings."""
    spec = row.records[0].spec
    if spec.budget is None:
        return "-"
    return ", ".join([name_of(spec.budget, spec.dataset), *changed_training(spec, column=row.eta)])


def seed_links(row: Row, address: str) -> str:
    """Link each seed of a row to its record below the address of a folder of records."""
    return ", ".join(
        f"[{'record' if record.spec.seed is None else record.spec.seed}]({address}/{record.digest}/{RECORD_FILE})"
        for record in row.records
    )


def _by_seed(row: Row) -> str:
    """List the scores of the seeds."""
    return (
        ", ".join(cell(record.score, record.primary_score) for record in row.records) if len(row.records) > 1 else "-"
    )


def _markdown(cells: Sequence[Cells]) -> str:
    return tabulate(cells, headers="keys", tablefmt="github", disable_numparse=True)


def _csv(cells: Sequence[Cells]) -> str:
    """Round numbers to six digits, because later digits can differ between processors."""
    rounded = [
        {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in line.items()} for line in cells
    ]
    return pd.DataFrame(rounded, dtype=object).to_csv(index=False, lineterminator="\n")
