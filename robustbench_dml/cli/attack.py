"""`rbdml attack`: one attack on one image, as numbers and as a picture, or the images of all queries in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustbench_dml.cli.options import (
    ATTACK,
    DATA,
    JSON,
    QUIET,
    CheckpointPath,
    GroupedCommand,
    check_bf16,
    context_of,
    take,
)
from robustbench_dml.cli.output import importing
from robustbench_dml.spec.options import EVALUATE, arguments_of
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.terminal import echo


@click.command(cls=GroupedCommand)
@click.argument("checkpoint", type=CheckpointPath(), required=False)
@click.option("--model", help="External model: file.py:factory, or robrank:NET. CHECKPOINT holds its weights.")
@click.option("--query", type=int, help="Row of the attacked image in the test images, from 0.")
@click.option("--attack", "attack_name", help="Attack from `rbdml list attacks`, or file.py:NAME.")
@click.option("--dataset", help="Data set from `rbdml list datasets`.  [default: the training data]")
@click.option("--out", type=click.Path(path_type=Path), help="Picture file, .png or .svg.")
@click.option("--save", type=click.Path(path_type=Path), help="Folder for adversarial images of all queries.")
@take(*ATTACK, "queries", published=False)
@take(*DATA)
@JSON
@QUIET
def attack(
    checkpoint: Path | None,
    model: str | None,
    query: int | None,
    attack_name: str | None,
    save: Path | None,
    dataset: str | None,
    as_json: bool,
    quiet: bool,
    **words: Any,
) -> None:
    """Attack one image and draw the result.

    The picture has the image, its ranked list before and after, and the values. An attack on a candidate shows the list
    of its target, a query, and the rank of the attacked image in it.

    --save searches the least radius of every query of the protocol `radius` and writes the images, for
    `rbdml submit --attack`.
    """
    import json

    with importing(quiet=quiet or as_json):
        from robustbench_dml.report.picture import check_picture, values_of, values_text, write_picture
        from robustbench_dml.runs.attack_one import attack_one

    check_bf16(words)
    if save is not None:
        if checkpoint is None or model or query is not None or attack_name or words["out"]:
            raise RbdmlError("--save takes a CHECKPOINT and settings of the attack, neither a model, a query nor --out")
        return _save(checkpoint, save, dataset, words, quiet=quiet)
    if query is None or attack_name is None or words["out"] is None:
        raise RbdmlError("nothing to draw: give --query ROW, --attack NAME and --out FILE, or --save DIR")
    check_picture(words["out"])
    result = attack_one(
        checkpoint,
        context_of({**words, "quiet": quiet, "as_json": as_json, "batch_size": 1}),
        model=model,
        row=query,
        attack=attack_name,
        dataset=dataset,
        changes=arguments_of(words)[EVALUATE],
    )
    write_picture(words["out"], result.trace, result.split, caption=result.caption)
    if as_json:
        echo(json.dumps(values_of(result), indent=1))
    elif not quiet:
        echo(f"{values_text(result)}\npicture: {words['out']}")


def _save(checkpoint: Path, folder: Path, dataset: str | None, words: dict[str, Any], *, quiet: bool) -> None:
    from robustbench_dml.runs.saved_attack import save_attack

    context = context_of({**words, "quiet": quiet, "as_json": False, "batch_size": 128})
    changes = arguments_of(words)[EVALUATE]
    path, saved = save_attack(checkpoint, folder, context, dataset=dataset, changes=changes)
    if not quiet:
        echo(f"{len(saved.query)} images, mean radius {255 * float(saved.radii.mean()):.2f}/255: {path}")
