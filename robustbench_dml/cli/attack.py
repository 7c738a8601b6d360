"""`rbdml attack`: one attack on one image, as numbers and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustbench_dml.cli.options import attack_changes, attack_options, data_options, place_of
from robustbench_dml.utils.terminal import echo


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@click.option("--model", help="file.py:factory, for a model that is not of this project; CHECKPOINT fills it.")
@click.option("--query", type=int, required=True, help="The attacked image, by its row in the test images, from 0.")
@click.option("--attack", "name", required=True, help="`rbdml list attacks`, or file.py:NAME.")
@click.option("--dataset", help="`rbdml list datasets`.  [default: what it was trained on]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The picture, .png or .svg.")
@click.option("--json", "as_json", is_flag=True, help="Print the values as JSON.")
@click.option("--quiet", is_flag=True, help="Print nothing.")
@attack_options
@data_options
def attack(
    checkpoint: Path | None,
    model: str | None,
    query: int,
    name: str,
    dataset: str | None,
    as_json: bool,
    quiet: bool,
    **shared: Any,
) -> None:
    """Attack one image and draw what happened: the image, its list before and after, and the values.

    An attack on a candidate shows the list of its target, a query, and where the attacked image ranks in it.
    """
    import json

    from robustbench_dml.report.picture import check_picture, values_of, values_text
    from robustbench_dml.runs.attack_one import attack_one

    check_picture(shared["out"])
    found = attack_one(
        checkpoint,
        place_of({**shared, "quiet": quiet, "as_json": as_json}),
        model=model,
        row=query,
        attack=name,
        dataset=dataset,
        changes=attack_changes(shared),
    )
    found.draw(shared["out"])
    if as_json:
        echo(json.dumps(values_of(found), indent=1))
    elif not quiet:
        echo(f"{values_text(found)}\npicture: {shared['out']}")
