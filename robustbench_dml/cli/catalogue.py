"""`rbdml list` and `rbdml new`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from robustbench_dml.cli.listing import Rows, rows_of
from robustbench_dml.cli.options import JSON
from robustbench_dml.cli.output import print_rows

KINDS = ["defenses", "attacks", "datasets", "backbones", "budgets", "solvers", "protocols"]
GRID = re.compile("hm-[a-z]-[a-z]")


@click.command("list")
@click.argument("kind", type=click.Choice(KINDS))
@JSON
def list_entries(kind: str, as_json: bool) -> None:
    """List all entries of a kind, one a line, with their sources."""
    rows = rows_of(kind)
    print_rows(rows if as_json else _fold_grid(rows), as_json=as_json)


def _fold_grid(rows: Rows) -> Rows:
    """Return rows with a single one for all HM[X,Y] of two miners."""
    grid = [row for row in rows if GRID.fullmatch(row["name"])]
    if len(grid) < 2:
        return rows
    letters = ", ".join(dict.fromkeys(row["name"][3].upper() for row in grid))
    summary = f"HM[X,Y]: triplets of miner X made as hard as those of Y; X and Y of {letters}"
    folded = {**grid[0], "name": "hm-X-Y", "summary": summary, "set by default": "sampler=X, destination=Y"}
    first = rows.index(grid[0])
    return [folded if place == first else row for place, row in enumerate(rows) if place == first or row not in grid]


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
