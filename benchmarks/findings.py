"""Fill the tables of docs/findings.md from the records of the leaderboards: python benchmarks/findings.py

A mark in the page names a board, its rows and the columns:

    <!-- rows fashion-c2f2-ers-77c78e: act/32, act/8@quick | R@1, ERS, passes -->

A row is a defense, with eta if the defense has one, and with a budget where the board has several. `published` in
place of `rows` sets each row beside the one that its authors report. `--check` writes nothing and fails if a table is
not up to date.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tabulate import tabulate

from robustbench_dml.leaderboard.board import Board, read_boards
from robustbench_dml.leaderboard.tables import seed_links
from robustbench_dml.report.names import paper_name
from robustbench_dml.report.published import read_published
from robustbench_dml.report.rows import Row
from robustbench_dml.report.tables import cell, score_cell
from robustbench_dml.spec.budgets import short_passes
from robustbench_dml.spec.schema import RunSpec

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "findings.md"
MARKED = re.compile(
    r"(<!-- (?P<kind>rows|published) (?P<board>[\w.-]+): (?P<rows>[^|]+) \| (?P<columns>[^>]+) -->\n)"
    r".*?(<!-- end -->)",
    re.DOTALL,
)
SOURCE = "doc/dmltab"  # the table of the code base; the rows of its README were withdrawn


def filled(page: str) -> str:
    """Return the page with all tables made anew."""

    def table(match: re.Match[str]) -> str:
        board = boards()[match["board"]]
        rows = [row_of(board, text.strip()) for text in match["rows"].split(",")]
        columns = [text.strip() for text in match["columns"].split(",")]
        cells = [
            line for row in rows for line in (beside if match["kind"] == "published" else one)(board, row, columns)
        ]
        return f"{match[1]}{tabulate(cells, headers='keys', tablefmt='github', disable_numparse=True)}\n{match[6]}"

    return MARKED.sub(table, page)


@cache
def boards() -> dict[str, Board]:
    """Return all boards by name."""
    return {board.name: board for board in read_boards(ROOT / "leaderboards")}


def row_of(board: Board, text: str) -> Row:
    """Return the only row of a board that a mark names.

    Raises:
        SystemExit: no row, or several.
    """
    name, _, budget = text.partition("@")
    label, _, eta = name.partition("/")
    found = [
        row
        for row in board.rows
        if label in (row.label, row.name) and (not eta or row.eta == int(eta)) and row.budget.startswith(budget)
    ]
    if len(found) != 1:
        raise SystemExit(f"{len(found)} rows of {board.name} are '{text}': name defense/eta@budget")
    return found[0]


def one(board: Board, row: Row, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the line of a row, with its records."""
    links = seed_links(row, f"../leaderboards/{board.dataset}/records")
    return [{**head(row), **{name: value(row, name) for name in columns}, "records, by seed": links}]


def head(row: Row) -> dict[str, str]:
    """Return the name of a row as in the papers, and its eta."""
    spec = row.records[0].spec
    name = paper_name(spec.label, spec.params, spec.dataset) if isinstance(spec, RunSpec) else row.name
    return {"defense": name, "eta": str(row.eta or "")}


def value(row: Row, name: str) -> str:
    """Return a value of a row; scores have half their interval."""
    if name == "passes":
        return short_passes(row.passes) if row.passes else ""
    if name in row.records[0].scores:
        return score_cell(name, row.values[name], row.intervals[name])
    return cell(name, row.values[name])


def beside(_: Board, row: Row, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return three lines: as reported, ours, and ours minus reported."""
    known = [
        each
        for each in read_published()
        if (each.dataset, each.defense, each.eta or 0) == (row.records[0].spec.dataset, head(row)["defense"], row.eta)
        and SOURCE in each.source
    ]
    [reported] = known
    ours = {name: cell(name, row.values[name]) for name in columns}
    theirs = {name: cell(name, reported.values[name]) for name in columns}
    less = {name: cell(name, row.values[name] - reported.values[name], "+") for name in columns}
    empty = {"defense": "", "eta": ""}
    return [
        {**head(row), "": "reported", **theirs},
        {**empty, "": "ours", **ours},
        {**empty, "": "difference", **less},
    ]


def main() -> None:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check, page = parser.parse_args().check, PAGE.read_text(encoding="utf-8")
    text = filled(page)
    if check and text != page:
        raise SystemExit(f"{PAGE.name}: tables are not up to date: run python benchmarks/findings.py")
    if not check:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
