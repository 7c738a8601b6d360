"""Output that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import click

from robustbench_dml.cli.options import table_options
from robustbench_dml.utils.progress import Progress
from robustbench_dml.utils.terminal import echo, text_table

F = TypeVar("F", bound=Callable[..., Any])


def output_options(function: F) -> F:
    """Give a command the options of `print_outcome`."""
    function = click.option("--quiet", is_flag=True, help="Print the folder of the record alone.")(function)
    return table_options("Print the record as JSON alone.")(function)


def importing(*, quiet: bool = False) -> AbstractContextManager[None]:
    """Show a line while a command imports PyTorch, which takes seconds."""
    return Progress(quiet).step("start PyTorch")


def print_outcome(outcome: Any, words: dict[str, Any]) -> None:
    """Print the record of a run, its table and its folder; draw its figures."""
    from robustbench_dml.report.grouping import comparable_records
    from robustbench_dml.report.run_report import draw, show

    if words["as_json"]:
        echo(outcome.record.model_dump_json(indent=1))
    elif words["quiet"]:
        click.echo(outcome.folder)
    records, damaged = comparable_records(outcome.record, outcome.folder.parent)
    warn_left_out(damaged)
    with Progress(words["quiet"] or words["as_json"]).step("draw the figures"):
        plots = draw(records, outcome.folder.parent, above=outcome.folder.parent)
    if words["as_json"] or words["quiet"]:
        return
    if not outcome.fresh:
        created = outcome.record.provenance.created
        version = ", by another version of the defense" if outcome.outdated else ""
        echo(f"already recorded on {created}{version} (--force repeats it):\n")
    echo(show(records, marked=outcome.record.digest, folder=outcome.folder.parent))
    click.echo(f"\nrecord: {outcome.folder}\nplots:  " + "\n        ".join(map(str, plots)))


def print_rows(rows: Iterable[Mapping[str, object]], *, as_json: bool) -> None:
    """Print rows as JSON or as a table."""
    rows = list(rows)
    click.echo(json.dumps(rows, indent=1) if as_json else text_table(rows))


def warn_left_out(messages: Iterable[str]) -> None:
    """Warn of records that could not be read."""
    for message in messages:
        echo(f"rbdml: left out: {message}", err=True)
