"""`rbdml inspect`: measurements on a data set and a backbone without training."""

from __future__ import annotations

from typing import Any

import click

from robustbench_dml.cli.options import JSON, CheckpointPath, take
from robustbench_dml.cli.output import print_rows


@click.group()
def inspect() -> None:
    """Measure a data set and a backbone without training."""


@inspect.command()
@take("dataset", "backbone")
@click.option("--checkpoint", type=CheckpointPath(), help="Trained model instead of a new one.")
@click.option("--batches", type=click.IntRange(min=1), default=100, show_default=True, help="Number of batches.")
@click.option("--pairs", type=click.IntRange(min=1), help="Anchor-positive pairs per batch.  [default: as published]")
@take("seed", "data-root")
@JSON
def hardness(dataset: str, as_json: bool, **words: Any) -> None:
    """Mean and variance of the hardness of each miner's triplets."""
    from robustbench_dml.training.hardness import sampler_hardness

    print_rows(sampler_hardness(dataset, **words), as_json=as_json)
