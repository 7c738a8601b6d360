"""The command `rbdml`: parse, call, print."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from robustbench_dml.cli_compare import compare
from robustbench_dml.cli_data import DATA_ROOT, data
from robustbench_dml.cli_inspect import inspect
from robustbench_dml.errors import RbdmlError

F = TypeVar("F", bound=Callable[..., Any])


class Fraction(click.ParamType[float]):
    """A number, or a quotient such as 8/255."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The value as a float."""
        try:
            top, _, bottom = str(value).partition("/")
            return float(top) / float(bottom or 1)
        except (ValueError, ZeroDivisionError):
            self.fail(f"'{value}' is not a number such as 0.03 or 8/255", param, ctx)


class Setting(click.ParamType[tuple[str, str]]):
    """name=value."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """The two sides."""
        name, equals, text = str(value).partition("=")
        if not (name and equals):
            self.fail(f"'{value}' is not of the form name=value", param, ctx)
        return name.strip(), text.strip()


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, in this order in the help."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


PRECISIONS = click.Choice(["fp32", "bf16"])

place_options = together(
    click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Records."),
    DATA_ROOT,
    click.option("--download", is_flag=True, help="Download a missing data set."),
    click.option("--no-cache", is_flag=True, help="Decode images each time instead of keeping them decoded."),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
    click.option("--batch-size", type=click.IntRange(min=1), default=128, show_default=True, help="Of the evaluation."),
    click.option("--force", is_flag=True, help="Repeat what has a record already."),
)
output_options = together(
    click.option("--json", "as_json", is_flag=True, help="Print the record as JSON and nothing else."),
    click.option("--quiet", is_flag=True, help="Print nothing but the folder of the record."),
)
evaluation_options = together(
    click.option("--queries", type=int, help="A seeded part of the test images as queries; default all."),
    click.option("--protocol", help="Attack protocol.  [default: ers]"),
    click.option("--attack-eps", type=Fraction(), help="Evaluation radius.  [default: the protocol's]"),
    click.option("--attack-alpha", type=Fraction(), help="Evaluation step size."),
    click.option("--attack-steps", type=int, help="Evaluation steps."),
    click.option("--attack-seed", type=int, help="Of the choice of queries and targets.  [default: 0]"),
    click.option("--attack-precision", type=PRECISIONS, help="Of the attack steps; scores are fp32.  [default: fp32]"),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="robustbench-dml")
def cli() -> None:
    """RobustBench-DML: adversarial robustness in deep metric learning."""


@cli.command()
@click.option("--defense", required=True, help="A name (`rbdml list defenses`), HM[S,M], or file.py:NAME.")
@click.option("--dataset", required=True, help="`rbdml list datasets`.")
@click.option("--backbone", help="`rbdml list backbones`.  [default: the data set's]")
@click.option("--budget", default="quick", show_default=True, help="A name, passes (20M) or a time (10min).")
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
@click.option("--precision", type=PRECISIONS, help="Of the network in training.  [default: fp32]")
@click.option("--batchnorm", type=click.Choice(["frozen", "train"]), help="[default: frozen if pretrained]")
@click.option("--pretrained/--no-pretrained", default=None, help="ImageNet weights.  [default: as published]")
@click.option("--weights", type=click.Path(path_type=Path), help="Start from the weights in this file.")
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
    batchnorm: str | None,
    pretrained: bool | None,
    weights: Path | None,
    **shared: Any,
) -> None:
    """Train a defense under a budget, evaluate it, write its record, show the result.

    What is not given is as published for the data set. An interrupted run goes on where it was.
    """
    from robustbench_dml import runs
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
            "precision": precision,
            "batchnorm": batchnorm,
        },
        evaluation=_evaluation(shared),
    )
    _show(runs.run(spec, _place(shared, weights), force=shared["force"]), shared)


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--backbone", help="Refuse a checkpoint of another backbone.")
@click.option("--dataset", help="folder:PATH, where the folder that it was trained on is now.")
@click.option("--defense", help="file.py:NAME, for a defense from outside the project.")
@evaluation_options
@place_options
@output_options
def evaluate(checkpoint: Path, backbone: str | None, dataset: str | None, defense: str | None, **shared: Any) -> None:
    """Evaluate a trained model again, the same way or another."""
    from robustbench_dml import runs
    from robustbench_dml.lookup import find_defense

    if defense is not None:
        find_defense(defense)
    outcome = runs.reevaluate(
        checkpoint,
        _place(shared),
        backbone=backbone,
        dataset=dataset,
        changes=_evaluation(shared),
        force=shared["force"],
    )
    _show(outcome, shared)


@cli.command("list")
@click.argument("kind", type=click.Choice(["defenses", "attacks", "datasets", "backbones", "budgets"]))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_entries(kind: str, as_json: bool) -> None:
    """What there is, a line each, with its source."""
    import json

    from robustbench_dml.report.entries import describe
    from robustbench_dml.report.tables import entries_table

    rows = describe(kind)
    click.echo(json.dumps(rows, indent=1) if as_json else entries_table(rows))


@cli.command()
@click.option("--records", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the plots.  [default: that of the records]")
@click.option("--quiet", is_flag=True, help="Print nothing.")
def plot(records: Path, out: Path | None, quiet: bool) -> None:
    """Draw the efficiency and trade-off plots of all records below a folder."""
    from robustbench_dml.report.board import plot_all

    paths, damaged = plot_all(records, out or records)
    _warn(damaged)
    for path in paths:
        if not quiet:
            click.echo(path)


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


def _evaluation(shared: dict[str, Any]) -> dict[str, Any]:
    return {
        "queries": shared["queries"],
        "protocol": shared["protocol"],
        "eps": shared["attack_eps"],
        "alpha": shared["attack_alpha"],
        "steps": shared["attack_steps"],
        "seed": shared["attack_seed"],
        "precision": shared["attack_precision"],
    }


def _place(shared: dict[str, Any], weights: Path | None = None) -> Any:
    from robustbench_dml.api import pick_device
    from robustbench_dml.datasets.base import Roots
    from robustbench_dml.progress import Progress
    from robustbench_dml.recording import Place

    progress = Progress(shared["quiet"] or shared["as_json"])
    return Place(
        out=shared["out"],
        roots=Roots(shared["data_root"], shared["download"], not shared["no_cache"], progress),
        device=pick_device(shared["device"]),
        batch_size=shared["batch_size"],
        progress=progress,
        weights=weights,
    )


def _show(outcome: Any, shared: dict[str, Any]) -> None:
    from robustbench_dml.report.board import comparable_records, draw, show

    if shared["as_json"]:
        click.echo(outcome.record.model_dump_json(indent=1))
    elif shared["quiet"]:
        click.echo(outcome.folder)
    records, damaged = comparable_records(outcome.record, outcome.folder.parent)
    _warn(damaged)
    plots = draw(records, outcome.folder.parent)
    if not (shared["as_json"] or shared["quiet"]):
        if not outcome.fresh:
            made = outcome.record.provenance.created
            version = ", by another version of the defense" if outcome.outdated else ""
            click.echo(f"already recorded on {made}{version} (--force repeats it):\n")
        click.echo(show(records, marked=outcome.record.digest, folder=outcome.folder.parent))
        click.echo(f"\nrecord: {outcome.folder}\nplots:  " + "\n        ".join(map(str, plots)))


def _warn(damaged: list[str]) -> None:
    for message in damaged:
        click.echo(f"rbdml: left out: {message}", err=True)


cli.add_command(compare)
cli.add_command(data)
cli.add_command(inspect)


def main() -> None:
    """Entry point: one line for what the user can mend, exit code 2; 130 when interrupted."""
    try:
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
    except click.Abort:
        click.echo("rbdml: interrupted; the same command goes on from here", err=True)
        sys.exit(130)


def _fail(message: str) -> None:
    click.echo(f"rbdml: {' '.join(message.split())}", err=True)
    sys.exit(2)
