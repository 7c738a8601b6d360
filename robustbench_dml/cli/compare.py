"""`rbdml compare`: two records on the same queries, or records beside published rows."""

from __future__ import annotations

import json
from pathlib import Path

import click

from robustbench_dml.cli.options import JSON
from robustbench_dml.cli.output import warn_left_out
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.terminal import echo


@click.command()
@click.argument("first", metavar="[A]", required=False, type=click.Path(path_type=Path))
@click.argument("second", metavar="[B]", type=click.Path(path_type=Path), required=False)
@click.option("--published", is_flag=True, help="Compare the records below A with their published rows.")
@JSON
def compare(first: Path | None, second: Path | None, published: bool, as_json: bool) -> None:
    """Compare two records, or records with published rows.

    Compare the record files or folders A and B value by value on the same queries. Differences have 95% paired
    bootstrap intervals and p values of a permutation test over the queries, corrected for the number of rows. They
    compare two trained models; seeds of one defense differ as well. A digest names a record of the boards.

    With --published, A is a folder of records, by default the boards. The mean of each defense over its seeds is
    compared with the row its authors report for the same data set, backbone and eta.
    """
    from robustbench_dml.leaderboard.entries import find_entry, find_leaderboards
    from robustbench_dml.report import comparison, vs_published

    if published == (second is not None) or (first is None and not published):
        raise RbdmlError("give two records, A and B, or --published with one folder of records")
    if first is None or second is None:
        rows, damaged = vs_published.match_published(first or find_leaderboards(installed=True))
        warn_left_out(damaged)
        echo(json.dumps(vs_published.matches_data(rows), indent=1) if as_json else vs_published.matches_text(rows))
        return
    result = comparison.compare(find_entry(first), find_entry(second))
    echo(json.dumps(comparison.comparison_data(result), indent=1) if as_json else comparison.comparison_text(result))
