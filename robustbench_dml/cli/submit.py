"""`rbdml submit`: put records on the leaderboards."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from robustbench_dml.cli.leaderboard import BOARDS
from robustbench_dml.cli.options import DATA, CheckpointPath, context_of, take
from robustbench_dml.cli.output import importing
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.terminal import echo


@click.command()
@click.argument("record", type=click.Path(path_type=Path), required=False)
@BOARDS
@click.option("--attack", type=click.Path(path_type=Path), help="Images of `rbdml attack --save`, in place of RECORD.")
@click.option("--checkpoint", type=CheckpointPath(), help="Checkpoint.  [default: beside the record]")
@click.option("--self-reported", is_flag=True, help="Enter without a second evaluation; marked on the board.")
@click.option(
    "--recheck",
    "queries",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="Number of queries of the second evaluation.",
)
@click.option("--by", default="", help="Name of the submitter.")
@click.option("--paper", default="", help="Source of the defense, e.g. arXiv:2203.01439.")
@click.option("--checkpoint-url", help="Address of the weights, for the zoo; of a folder if it ends in /.")
@click.option("--defense", help="Defense from outside the project: file.py:NAME. The file is copied to defenses/.")
@click.option("--model", help="External model: file.py:factory.")
@click.option("--trust-code", is_flag=True, help="Run the file of --defense or --model; read it first.")
@click.option("--declared-passes", help="Training cost of an external model, e.g. 20M; marked as declared.")
@click.option("--replace", multiple=True, metavar="DIGEST", help="Entry to replace; repeatable.")
@click.option("--why", default="", help="Reason for the replacement, one line for the history.")
@click.option("--dry-run", is_flag=True, help="Check and show; write nothing.")
@click.option("--yes", is_flag=True, help="Write without asking.")
@take("surrogate", "batch-size", *DATA)
def submit(
    record: Path | None, attack: Path | None, boards: Path | None, dry_run: bool, yes: bool, **given: Any
) -> None:
    """Put records on the leaderboards.

    A record is checked, and its checkpoint evaluated again on some of the queries. RECORD is a folder that `rbdml run`
    or `rbdml evaluate` wrote, or a folder of several records: all are entered or none. You see all changes before
    anything is written. --attack lowers the radii of the entries with the weights of --checkpoint. Under torchrun or
    srun several processes share the second evaluation.
    """
    with importing():
        from robustbench_dml.leaderboard.entries import find_leaderboards
        from robustbench_dml.leaderboard.submission.lower import prepared_attack
        from robustbench_dml.leaderboard.submission.submit import prepared
        from robustbench_dml.runs.together import joined
        from robustbench_dml.utils.distributed import is_leader

    leaderboards = find_leaderboards(boards)
    context = context_of({**given, "out": leaderboards, "quiet": False, "as_json": False})
    if (record is None) == (attack is None):
        raise RbdmlError("give a RECORD or --attack FILE, one of the two")
    with ExitStack() as stack:
        own = stack.enter_context(joined(context))
        submission = stack.enter_context(
            prepared(record, leaderboards, own, _terms(given))
            if record is not None
            else prepared_attack(attack, given["checkpoint"], leaderboards, own)  # type: ignore[arg-type]
        )
        if not is_leader():
            return
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
    from dataclasses import fields

    from robustbench_dml.leaderboard.submission.plan import Terms

    given = {**given, "declared_passes": _passes(given["declared_passes"])}
    return Terms(**{field.name: given[field.name] for field in fields(Terms)})


def _passes(text: str | None) -> float | None:
    """Read a number of passes: 20M, 1.5e6.

    Raises:
        RbdmlError: something else.
    """
    from robustbench_dml.spec.budgets import parse_budget
    from robustbench_dml.spec.published import BUDGETS
    from robustbench_dml.spec.registry import DATASETS

    if text is None:
        return None
    budget = None if text.strip() in BUDGETS else parse_budget(text, DATASETS.get("glyphs"))
    if budget is None or budget.kind != "passes":
        raise RbdmlError(f"--declared-passes {text}: give a number of passes, such as 20M")
    return float(budget.amount)
