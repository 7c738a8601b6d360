"""`rbdml inspect`: looking at a data set and a backbone without training."""

from __future__ import annotations

from pathlib import Path

import click

from robustbench_dml.cli.options import JSON, take
from robustbench_dml.utils.terminal import text_table


@click.group()
def inspect() -> None:
    """Look at a data set and a backbone without training."""


@inspect.command()
@take("dataset", "backbone")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="A trained model instead of a new one.")
@click.option("--batches", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--pairs", type=click.IntRange(min=1), help="Pairs per batch.  [default: as in training]")
@take("seed")
@take("data-root")
@JSON
def hardness(
    dataset: str,
    backbone: str | None,
    checkpoint: Path | None,
    batches: int,
    pairs: int | None,
    seed: int,
    as_json: bool,
    data_root: Path | None,
) -> None:
    """Mean and variance of the hardness of each sampler's triplets."""
    import json

    from robustbench_dml.training.hardness import sampler_hardness

    rows = sampler_hardness(
        dataset,
        backbone=backbone,
        checkpoint=checkpoint,
        batches=batches,
        pairs=pairs,
        seed=seed,
        data_root=data_root,
    )
    click.echo(json.dumps(rows, indent=1) if as_json else text_table(rows))


@inspect.command()
@take("dataset", "backbone")
@click.option(
    "--pretrained/--no-pretrained", default=None, help="ImageNet weights too.  [default: where there are any]"
)
@take("weights")
@click.option("--queries", type=click.IntRange(min=1), help="A seeded part of the test images; default all.")
@take("seed")
@take("device", "data-root")
@JSON
def baselines(
    dataset: str,
    backbone: str | None,
    pretrained: bool | None,
    weights: Path | None,
    queries: int | None,
    seed: int,
    device: str,
    as_json: bool,
    data_root: Path | None,
) -> None:
    """Benign retrieval without training: raw pixels, random weights, published weights."""
    import json

    from robustbench_dml.datasets.base import DataPaths
    from robustbench_dml.evaluation.baselines import untrained
    from robustbench_dml.utils.device import pick_device
    from robustbench_dml.utils.progress import Progress

    rows = untrained(
        dataset,
        backbone=backbone,
        pretrained=pretrained,
        weights=weights,
        queries=queries,
        seed=seed,
        device=pick_device(device),
        paths=DataPaths(data_root, progress=Progress(as_json)),
    )
    click.echo(json.dumps(rows, indent=1) if as_json else text_table(rows))
