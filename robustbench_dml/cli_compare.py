"""`rbdml compare`: two records on the same queries."""

from __future__ import annotations

from pathlib import Path

import click

from robustbench_dml.terminal import echo


@click.command()
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="B", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def compare(first: Path, second: Path, as_json: bool) -> None:
    """Compare two records, by the folders or files, value by value on the same queries.

    Differences have 95% paired bootstrap intervals and p values of a permutation test over the queries, corrected for
    the number of rows. What is compared is two trained models: seeds of one defense differ too.
    """
    import json

    from robustbench_dml.report import comparison

    found = comparison.compare(first, second)
    if as_json:
        echo(json.dumps(comparison.comparison_data(found), indent=1))
    else:
        echo(comparison.comparison_text(found))
