"""`rbdml list` and `rbdml new`."""

from __future__ import annotations

from pathlib import Path

import click

from robustbench_dml.cli.listing import rows_of
from robustbench_dml.cli.options import JSON
from robustbench_dml.cli.output import print_rows

KINDS = ["defenses", "attacks", "datasets", "backbones", "budgets", "solvers", "protocols"]


@click.command("list")
@click.argument("kind", type=click.Choice(KINDS))
@JSON
def list_entries(kind: str, as_json: bool) -> None:
    """List all entries of a kind, one a line, with their sources."""
    print_rows(rows_of(kind), as_json=as_json)


@click.group()
def new() -> None:
    """Write a template to start from."""


@new.command("defense")
@click.argument("name")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Folder of the two files.")
def new_defense(name: str, folder: Path | None) -> None:
    """Write a working defense and its test.

    Without --folder they go into defenses/ and tests/defenses/ of a checkout, elsewhere into the current folder.
    """
    from robustbench_dml.cli.templates import write_defense

    for path in write_defense(name, folder):
        click.echo(path)
