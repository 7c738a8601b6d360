"""`rbdml leaderboard`: generate files from the entries, check the entries, withdraw an entry."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from robustbench_dml.cli.options import QUIET, take
from robustbench_dml.utils.progress import Progress
from robustbench_dml.utils.terminal import echo, one_line

BOARDS = click.option(
    "--boards", type=click.Path(path_type=Path), help="Folder of the leaderboards.  [default: the checkout's]"
)


@click.group()
def leaderboard() -> None:
    """Build, check and correct the leaderboards."""


@leaderboard.command()
@BOARDS
@QUIET
def build(boards: Path | None, quiet: bool) -> None:
    """Write tables, figures and the page from the entries. Without new entries no byte changes."""
    with Progress(quiet).step("build tables, figures and the page"):
        from robustbench_dml.leaderboard.build import build as build_all
        from robustbench_dml.leaderboard.entries import find_leaderboards

        paths = build_all(find_leaderboards(boards))
    for path in () if quiet else paths:
        click.echo(path)


@leaderboard.command()
@BOARDS
@take("data-root")
@click.option("--quiet", is_flag=True, help="Print problems alone.")
def check(boards: Path | None, data_root: Path | None, quiet: bool) -> None:
    """Check every entry as far as possible without its checkpoint, and that tables and page match the entries.

    Exit code 1 if there is a problem.
    """
    with Progress(quiet).step("check every entry"):
        from robustbench_dml.datasets.base import DataPaths
        from robustbench_dml.leaderboard.check import check_all
        from robustbench_dml.leaderboard.entries import find_leaderboards

        result = check_all(find_leaderboards(boards), DataPaths(data_root, False, True, Progress(quiet=True)))
    for problem in result.problems:
        echo(f"problem: {one_line(problem)}", err=True)
    if not quiet:
        for note in result.notes:
            echo(f"note: {one_line(note)}")
        click.echo(f"{result.entries} entries, {result.boards} boards, {len(result.problems)} problems")
    sys.exit(1 if result.problems else 0)


@leaderboard.command()
@click.argument("digest")
@click.option("--why", required=True, help="Reason, one line for the history.")
@BOARDS
def withdraw(digest: str, why: str, boards: Path | None) -> None:
    """Take an entry off its board. It stays in the history, with the reason."""
    from robustbench_dml.leaderboard.build import build as build_all
    from robustbench_dml.leaderboard.entries import find_leaderboards
    from robustbench_dml.leaderboard.submission.withdraw import withdraw as withdraw_entry

    leaderboards = find_leaderboards(boards)
    click.echo(withdraw_entry(leaderboards, digest, why))
    build_all(leaderboards)
