"""`rbdml plot`: figures of leaderboards and records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from robustbench_dml.cli.leaderboard import BOARDS
from robustbench_dml.cli.options import QUIET
from robustbench_dml.cli.output import importing, warn_left_out
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.progress import Progress

if TYPE_CHECKING:
    from robustbench_dml.report.figures.style import StyleName


@click.command()
@click.option("--records", type=click.Path(path_type=Path), help="Folder of records to draw instead of the boards.")
@click.option("--published", is_flag=True, help="Draw the results that authors report instead of the boards.")
@BOARDS
@click.option("--style", type=click.Choice(["screen", "paper"]), default="screen", show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the figures.  [default: beside the data; the current folder for boards in the package]",
)
@QUIET
def plot(
    records: Path | None, published: bool, boards: Path | None, style: StyleName, out: Path | None, quiet: bool
) -> None:
    """Draw the figures of leaderboards or records again.

    Figures are efficiency, trade-off and profile, of the leaderboards or of all records below a folder. Screen
    style is PNG and SVG. Paper style is SVG and PDF in the width of a column, without headings. Files that would
    not change are not written.
    """
    with importing(quiet=quiet):
        from robustbench_dml.leaderboard.build import redraw_boards, redraw_published
        from robustbench_dml.report.run_report import plot_all

    if records is not None and (published or boards is not None):
        raise RbdmlError("--records is for runs, --published and --boards are for leaderboards: give one of them")
    damaged: list[str] = []
    with Progress(quiet).step("draw the figures"):
        if records is not None:
            paths, damaged = plot_all(records, out or records, style)
        else:
            paths = (redraw_published if published else redraw_boards)(boards, out, style)
    warn_left_out(damaged)
    for path in () if quiet else paths:
        click.echo(path)
