"""`rbdml run`: train a defense, evaluate it, write its record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from robustbench_dml.cli.options import (
    PRECISIONS_HERE,
    Fraction,
    Setting,
    evaluation_changes,
    evaluation_options,
    output_options,
    place_of,
    place_options,
    precision_here,
)
from robustbench_dml.cli.output import show_outcome


@click.command()
@click.option("--defense", required=True, help="A name (`rbdml list defenses`), HM[S,M], or file.py:NAME.")
@click.option("--dataset", required=True, help="`rbdml list datasets`.")
@click.option("--backbone", help="`rbdml list backbones`.  [default: the data set's]")
@click.option(
    "--budget", default="quick", show_default=True, help="A name, passes (20M), iterations (3750it) or a time (10min)."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights, batches and triplets.")
@click.option("--sampler", help="Which triplets: R, M, S, D or H.  [default: the defense's]")
@click.option("--set", "params", type=Setting(), multiple=True, help="A parameter of the defense; repeatable.")
@click.option("--eta", type=int, help="PGD steps in training.")
@click.option("--eps", type=Fraction(), help="Perturbation radius in training, e.g. 77/255.")
@click.option("--alpha", type=Fraction(), help="PGD step size in training.")
@click.option("--pairs", type=int, help="Pairs per batch.")
@click.option("--lr", type=float, help="Learning rate of Adam.")
@click.option("--weight-decay", type=float, help="Weight decay of Adam.")
@click.option("--on-collapse", type=click.Choice(["stop", "continue"]), help="[default: continue]")
@click.option("--precision", type=PRECISIONS_HERE, help="Of the network in training.  [default: fp32]")
@click.option("--weight-precision", type=PRECISIONS_HERE, help="Of its weight step.  [default: as --precision]")
@click.option("--batchnorm", type=click.Choice(["frozen", "train"]), help="[default: frozen if pretrained]")
@click.option("--pretrained/--no-pretrained", default=None, help="ImageNet weights.  [default: as published]")
@click.option("--weights", type=click.Path(path_type=Path), help="Start from the weights in this file.")
@click.option("--checkpoint-every", default="5min", show_default=True, help="How often training keeps its state.")
@click.option("--tensorboard", is_flag=True, help="Write scalars for TensorBoard beside the log of the run.")
@click.option("--devices", type=int, default=1, show_default=True, help="Of this machine, a process for each.")
@evaluation_options
@place_options
@output_options
def run(
    defense: str,
    dataset: str,
    backbone: str | None,
    budget: str,
    seed: int,
    sampler: str | None,
    params: tuple[tuple[str, str], ...],
    eta: int | None,
    eps: float | None,
    alpha: float | None,
    pairs: int | None,
    lr: float | None,
    weight_decay: float | None,
    on_collapse: str | None,
    precision: str | None,
    weight_precision: str | None,
    batchnorm: str | None,
    pretrained: bool | None,
    weights: Path | None,
    checkpoint_every: str,
    tensorboard: bool,
    devices: int,
    **shared: Any,
) -> None:
    """Train a defense under a budget, evaluate it, write its record, show the result.

    What is not given is as published for the data set. An interrupted run goes on where it was. Its log, log.jsonl, is
    beside its record; while it goes on, in a hidden folder there.
    """
    from robustbench_dml.runs.launch import run_on_devices
    from robustbench_dml.spec.budgets import parse_seconds
    from robustbench_dml.spec.make import make_spec

    spec = make_spec(
        defense=defense,
        dataset=dataset,
        budget=budget,
        backbone=backbone,
        pretrained=pretrained,
        weights=weights,
        seed=seed,
        params={**({} if sampler is None else {"sampler": sampler}), **dict(params)},
        training={
            "eta": eta,
            "eps": eps,
            "alpha": alpha,
            "pairs": pairs,
            "lr": lr,
            "weight_decay": weight_decay,
            "on_collapse": on_collapse,
            "precision": precision_here(precision, shared["device"]),
            "weight_precision": precision_here(weight_precision, shared["device"]),
            "batchnorm": batchnorm,
        },
        evaluation=evaluation_changes(shared),
    )
    place = replace(
        place_of(shared, weights), checkpoint_every=parse_seconds(checkpoint_every), tensorboard=tensorboard
    )
    show_outcome(run_on_devices(spec, place, devices, force=shared["force"]), shared)
