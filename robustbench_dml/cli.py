"""The command `rbdml`: parse, call, print."""

from __future__ import annotations

import errno
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from robustbench_dml.cli_attack import attack
from robustbench_dml.cli_compare import compare
from robustbench_dml.cli_data import data
from robustbench_dml.cli_inspect import inspect
from robustbench_dml.cli_leaderboard import leaderboard
from robustbench_dml.cli_options import (
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
from robustbench_dml.cli_plot import plot
from robustbench_dml.cli_submit import submit
from robustbench_dml.cli_sweep import sweep
from robustbench_dml.errors import RbdmlError
from robustbench_dml.files import is_full
from robustbench_dml.interrupts import ENDING, interrupted_by
from robustbench_dml.terminal import echo, one_line

NO_NAME = (errno.ENAMETOOLONG, errno.ELOOP)  # what no path can be
KINDS = ["defenses", "attacks", "datasets", "backbones", "budgets", "optimisers", "protocols"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="robustbench-dml")
def cli() -> None:
    """RobustBench-DML: adversarial robustness in deep metric learning."""


@cli.command()
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
    from robustbench_dml.budget import parse_seconds
    from robustbench_dml.devices.launch import run_on_devices
    from robustbench_dml.specs import make_spec

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
    _show(run_on_devices(spec, place, devices, force=shared["force"]), shared)


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@click.option("--model", help="file.py:factory, for a model that is not of this project; CHECKPOINT fills it.")
@click.option("--backbone", help="Refuse a checkpoint of another backbone.")
@click.option("--dataset", help="folder:PATH, where the folder that it was trained on is now. With --model: any.")
@click.option("--defense", help="file.py:NAME, for a defense from outside the project.")
@evaluation_options
@place_options
@output_options
def evaluate(
    checkpoint: Path | None,
    model: str | None,
    backbone: str | None,
    dataset: str | None,
    defense: str | None,
    **shared: Any,
) -> None:
    """Evaluate a trained model again, the same way or another; or a model that is not of this project.

    With --model, factory() returns a torch module from (B, C, H, W) images in [0, 1] to embeddings, and CHECKPOINT is
    its state dict: safetensors, or a torch file, which is never unpickled freely.
    """
    from robustbench_dml import runs
    from robustbench_dml.foreign import evaluate_foreign
    from robustbench_dml.lookup import find_defense

    changes, place = evaluation_changes(shared), place_of(shared)
    if model is not None:
        if dataset is None or backbone is not None or defense is not None:
            raise RbdmlError("--model needs --dataset, and has no --backbone or --defense of this project: change that")
        outcome = evaluate_foreign(model, checkpoint, place, dataset=dataset, changes=changes, force=shared["force"])
        _show(outcome, shared)
        return
    if checkpoint is None:
        raise RbdmlError("nothing to evaluate: give a CHECKPOINT that `rbdml run` wrote, or --model file.py:factory")
    if defense is not None:
        find_defense(defense)
    outcome = runs.reevaluate(
        checkpoint, place, backbone=backbone, dataset=dataset, changes=changes, force=shared["force"]
    )
    _show(outcome, shared)


@cli.command("list")
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_entries(kind: str, as_json: bool) -> None:
    """What there is, a line each, with its source."""
    import json

    from robustbench_dml.report.entries import describe
    from robustbench_dml.report.tables import entries_table

    rows = describe(kind)
    click.echo(json.dumps(rows, indent=1) if as_json else entries_table(rows))


@cli.group()
def new() -> None:
    """Write a template to start from."""


@new.command("defense")
@click.argument("name")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="[default: see below]")
def new_defense(name: str, folder: Path | None) -> None:
    """Write a working defense and its test.

    In a checkout of the project they go into defenses/ and tests/defenses/, elsewhere into the current folder.
    """
    from robustbench_dml.templates import write_defense

    for path in write_defense(name, folder):
        click.echo(path)


def _show(outcome: Any, shared: dict[str, Any]) -> None:
    from robustbench_dml.report.board import comparable_records, draw, show

    if shared["as_json"]:
        echo(outcome.record.model_dump_json(indent=1))
    elif shared["quiet"]:
        click.echo(outcome.folder)
    records, damaged = comparable_records(outcome.record, outcome.folder.parent)
    _warn(damaged)
    plots = draw(records, outcome.folder.parent, above=outcome.folder.parent)
    if not (shared["as_json"] or shared["quiet"]):
        if not outcome.fresh:
            made = outcome.record.provenance.created
            version = ", by another version of the defense" if outcome.outdated else ""
            echo(f"already recorded on {made}{version} (--force repeats it):\n")
        echo(show(records, marked=outcome.record.digest, folder=outcome.folder.parent))
        click.echo(f"\nrecord: {outcome.folder}\nplots:  " + "\n        ".join(map(str, plots)))


def _warn(damaged: list[str]) -> None:
    for message in damaged:
        echo(f"rbdml: left out: {message}", err=True)


cli.add_command(compare)
cli.add_command(attack)
cli.add_command(data)
cli.add_command(inspect)
cli.add_command(plot)
cli.add_command(leaderboard)
cli.add_command(submit)
cli.add_command(sweep)


def main() -> None:
    """Entry point: one line for what the user can mend, exit code 2; 130 when interrupted."""
    try:
        with interrupted_by(*ENDING):
            cli.main(standalone_mode=False)
    except RbdmlError as error:
        _fail(str(error))
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message())
    except PermissionError as error:
        _fail(f"{error.filename}: no permission: change its permissions, or name another file or folder")
    except OSError as error:
        if is_full(error):
            _fail(f"{error.filename or 'a file'}: {error.strerror}: free some space, then give the same command again")
        if error.errno not in NO_NAME:
            raise
        _fail(f"{str(error.filename)[:100]}: {error.strerror}: name another file or folder")
    except click.Abort:
        click.echo("rbdml: interrupted; the same command goes on from here", err=True)
        sys.exit(130)


def _fail(message: str) -> None:
    click.echo(f"rbdml: {one_line(message)}", err=True)
    sys.exit(2)
