"""`rbdml list` and `rbdml new`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from robustbench_dml.cli.listing import rows_of
from robustbench_dml.cli.options import JSON
from robustbench_dml.utils.terminal import text_table

KINDS = ["defenses", "attacks", "datasets", "backbones", "budgets", "solvers", "protocols"]


@click.command("list")
@click.argument("kind", type=click.Choice(KINDS))
@JSON
def list_entries(kind: str, as_json: bool) -> None:
    """What there is, a line each, with its source."""
    rows = rows_of(kind)
    click.echo(json.dumps(rows, indent=1) if as_json else text_table(rows))


@click.group()
def new() -> None:
    """Write a template to start from."""


@new.command("defense")
@click.argument("name")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="[default: see below]")
def new_defense(name: str, folder: Path | None) -> None:
    """Write a working defense and its test.

    In a checkout of the project they go into defenses/ and tests/defenses/, elsewhere into the current folder.
    """
    from robustbench_dml.cli.templates import write_defense

    for path in write_defense(name, folder):
        click.echo(path)
