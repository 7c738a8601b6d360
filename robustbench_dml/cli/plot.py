"""`rbdml plot`: the figures alone."""

from __future__ import annotations

from pathlib import Path

import click

from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.terminal import echo


@click.command()
@click.option("--records", type=click.Path(path_type=Path), help="Draw all records below a folder, not the boards.")
@click.option("--published", is_flag=True, help="Draw the results as reported by their authors, not the boards.")
@click.option("--boards", type=click.Path(path_type=Path), help="Folder of the leaderboards.  [default: leaderboards]")
@click.option("--style", type=click.Choice(["screen", "paper"]), default="screen", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the figures.  [default: beside what they show]")
@click.option("--quiet", is_flag=True, help="Print nothing.")
def plot(records: Path | None, published: bool, boards: Path | None, style: str, out: Path | None, quiet: bool) -> None:
    """Draw efficiency, trade-off and profile again: of the leaderboards, or of the records below a folder.

    Screen is PNG and SVG; paper is SVG and PDF of a column's width, without headings. What would stay the same is not
    touched.
    """
    from robustbench_dml.leaderboard.redraw import redraw_boards, redraw_published
    from robustbench_dml.report.figures.style import STYLES
    from robustbench_dml.report.run_report import plot_all

    if records is not None and (published or boards is not None):
        raise RbdmlError("--records is for runs, --published and --boards are for leaderboards: give one of them")
    name = STYLES[style].name  # type: ignore[index]
    damaged: list[str] = []
    if records is not None:
        paths, damaged = plot_all(records, out or records, name)
    else:
        paths = (redraw_published if published else redraw_boards)(boards, out, name)
    for message in damaged:
        echo(f"rbdml: left out: {message}", err=True)
    for path in () if quiet else paths:
        click.echo(path)
