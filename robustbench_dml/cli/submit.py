"""`rbdml submit`: put records on the leaderboards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from robustbench_dml.cli.leaderboard import BOARDS
from robustbench_dml.cli.options import DATA, context_of, take
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.terminal import echo


@click.command()
@click.argument("record", type=click.Path(path_type=Path))
@BOARDS
@click.option("--checkpoint", type=click.Path(path_type=Path), help="[default: the one beside the record]")
@click.option("--self-reported", is_flag=True, help="Enter it without a second evaluation; shown on the board.")
@click.option(
    "--recheck", type=click.IntRange(min=1), default=128, show_default=True, help="Queries to evaluate again."
)
@click.option("--by", default="", help="Who submits.")
@click.option("--paper", default="", help="Where the defense is described, e.g. arXiv:2203.01439.")
@click.option("--checkpoint-url", help="Where the weights can be had.")
@click.option(
    "--defense", help="file.py:NAME, for a defense that is not in the project; its file is kept in defenses/."
)
@click.option("--model", help="file.py:factory, for a model that is not of this project.")
@click.option("--trust-code", is_flag=True, help="Run the file of --defense or --model; read it first.")
@click.option("--declared-passes", help="What training such a model cost, e.g. 20M; shown as declared.")
@click.option("--replace", multiple=True, metavar="DIGEST", help="An entry that this revises; repeatable.")
@click.option("--why", default="", help="Why it is revised: a line for the history.")
@click.option("--dry-run", is_flag=True, help="Check and show; write nothing.")
@click.option("--yes", is_flag=True, help="Write without asking.")
@take("surrogate", "batch-size", *DATA)
def submit(record: Path, boards: Path | None, dry_run: bool, yes: bool, **given: Any) -> None:
    """Check a record, evaluate its checkpoint again on a part of the queries, and put it on its board.

    RECORD is a folder that `rbdml run` or `rbdml evaluate` wrote, or one of several: all are taken or none. What would
    change is shown before anything is written.
    """
    from robustbench_dml.leaderboard.find import find_leaderboards
    from robustbench_dml.leaderboard.submission.submit import prepared

    leaderboards = find_leaderboards(boards)
    context = context_of({**given, "out": leaderboards, "quiet": False, "as_json": False})
    with prepared(record, leaderboards, context, _terms(given)) as submission:
        echo(submission.report)
        if dry_run:
            click.echo("\nNothing was written (--dry-run).")
            return
        if not yes and not sys.stdin.isatty():
            raise RbdmlError("nobody to ask whether to write this: give --yes, or --dry-run to see it alone")
        if not yes and not click.confirm(f"\nWrite this to {leaderboards}?"):
            click.echo("Nothing was written.")
            return
        submission.write()
    click.echo(f"\nWritten to {leaderboards}.")


def _terms(given: dict[str, Any]) -> Any:
    from robustbench_dml.leaderboard.submission.submit import Terms

    return Terms(
        by=given["by"],
        paper=given["paper"],
        checkpoint_url=given["checkpoint_url"],
        declared_passes=_passes(given["declared_passes"]),
        self_reported=given["self_reported"],
        queries=given["recheck"],
        checkpoint=given["checkpoint"],
        defense=given["defense"],
        model=given["model"],
        trust_code=given["trust_code"],
        replace=given["replace"],
        why=given["why"],
    )


def _passes(text: str | None) -> float | None:
    """Passes as a budget is written: 20M, 1.5e6.

    Raises:
        RbdmlError: something else.
    """
    from robustbench_dml.spec.budgets import parse_budget
    from robustbench_dml.spec.published import BUDGETS
    from robustbench_dml.spec.registry import DATASETS

    if text is None:
        return None
    if text.strip() not in BUDGETS:
        found = parse_budget(text, DATASETS.get("fashion-mini"))
        if found.kind == "passes":
            return float(found.amount)
    raise RbdmlError(f"--declared-passes {text}: give a number of passes, such as 20M")
