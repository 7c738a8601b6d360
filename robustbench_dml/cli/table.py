"""`rbdml table`: a leaderboard as text, CSV or LaTeX."""

from __future__ import annotations

from pathlib import Path

import click

from robustbench_dml.cli.leaderboard import BOARDS
from robustbench_dml.utils.errors import RbdmlError, did_you_mean
from robustbench_dml.utils.terminal import echo


@click.command()
@click.argument("board", required=False)
@click.option("--latex", "form", flag_value="latex", help="A LaTeX tabular, for the package booktabs.")
@click.option("--csv", "form", flag_value="csv", help="All columns with intervals as CSV.")
@BOARDS
def table(board: str | None, form: str | None, boards: Path | None) -> None:
    """Print a leaderboard, by default the first of the ranking protocol."""
    from robustbench_dml.leaderboard import tables
    from robustbench_dml.leaderboard.board import read_boards
    from robustbench_dml.leaderboard.entries import find_leaderboards

    found = sorted(read_boards(find_leaderboards(boards)), key=lambda one: not one.ranking)
    known = {one.name: one for one in found}
    if not known:
        raise RbdmlError("there is no entry on these leaderboards: submit a record first, or name others with --boards")
    board = board or next(iter(known))
    if board not in known:
        listed = ", ".join(known)
        raise RbdmlError(f"unknown board '{board}': {did_you_mean(board, known)}use one of {listed}")
    write = {"latex": tables.board_latex, "csv": tables.board_csv, None: tables.board_text}[form]
    echo(write(known[board]).rstrip("\n"))
