"""What commands print."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from robustbench_dml.utils.terminal import echo

F = TypeVar("F", bound=Callable[..., Any])


def output_options(function: F) -> F:
    """Give a command the options of `show_outcome`."""
    function = click.option("--quiet", is_flag=True, help="Folder of the record as the only output.")(function)
    return click.option("--json", "as_json", is_flag=True, help="Record as JSON as the only output.")(function)


def show_outcome(outcome: Any, words: dict[str, Any]) -> None:
    """Print the record of a run, its table and where it is; draw its figures."""
    from robustbench_dml.report.grouping import comparable_records
    from robustbench_dml.report.run_report import draw, show

    if words["as_json"]:
        echo(outcome.record.model_dump_json(indent=1))
    elif words["quiet"]:
        click.echo(outcome.folder)
    records, damaged = comparable_records(outcome.record, outcome.folder.parent)
    warn_left_out(damaged)
    plots = draw(records, outcome.folder.parent, above=outcome.folder.parent)
    if not (words["as_json"] or words["quiet"]):
        if not outcome.fresh:
            made = outcome.record.provenance.created
            version = ", by another version of the defense" if outcome.outdated else ""
            echo(f"already recorded on {made}{version} (--force repeats it):\n")
        echo(show(records, marked=outcome.record.digest, folder=outcome.folder.parent))
        click.echo(f"\nrecord: {outcome.folder}\nplots:  " + "\n        ".join(map(str, plots)))


def warn_left_out(damaged: list[str]) -> None:
    """Print the records that could not be read."""
    for message in damaged:
        echo(f"rbdml: left out: {message}", err=True)
