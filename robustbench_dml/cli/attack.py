"""`rbdml attack`: one attack on one image, as numbers and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustbench_dml.cli.options import ATTACK, DATA, JSON, QUIET, GroupedCommand, context_of, take, with_precisions
from robustbench_dml.spec.options import EVALUATE, arguments_of
from robustbench_dml.utils.terminal import echo


@click.command(cls=GroupedCommand)
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@click.option("--model", help="External model: file.py:factory. CHECKPOINT holds its weights.")
@click.option("--query", type=int, required=True, help="Row of the attacked image in the test images, from 0.")
@click.option("--attack", "attack_name", required=True, help="Attack from `rbdml list attacks`, or file.py:NAME.")
@click.option("--dataset", help="Data set from `rbdml list datasets`.  [default: the training data]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Picture file, .png or .svg.")
@take(*ATTACK, published=False)
@take(*DATA)
@JSON
@QUIET
def attack(
    checkpoint: Path | None,
    model: str | None,
    query: int,
    attack_name: str,
    dataset: str | None,
    as_json: bool,
    quiet: bool,
    **words: Any,
) -> None:
    """Attack one image and draw the result.

    The picture has the image, its ranked list before and after, and the values. An attack on a candidate shows the list
    of its target, a query, and the rank of the attacked image in it.
    """
    import json

    from robustbench_dml.report.picture import check_picture, values_of, values_text, write_picture
    from robustbench_dml.runs.attack_one import attack_one

    check_picture(words["out"])
    result = attack_one(
        checkpoint,
        context_of({**words, "quiet": quiet, "as_json": as_json, "batch_size": 1}),
        model=model,
        row=query,
        attack=attack_name,
        dataset=dataset,
        changes=arguments_of(with_precisions(words))[EVALUATE],
    )
    write_picture(words["out"], result.trace, result.split, caption=result.caption)
    if as_json:
        echo(json.dumps(values_of(result), indent=1))
    elif not quiet:
        echo(f"{values_text(result)}\npicture: {words['out']}")
