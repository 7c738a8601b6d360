"""`rbdml zoo`: trained models by name."""

from __future__ import annotations

from pathlib import Path

import click

from robustbench_dml.cli.options import JSON
from robustbench_dml.cli.output import print_rows


@click.group()
def zoo() -> None:
    """List and fetch trained models, and build a folder of them.

    $RBDML_ZOO names a folder or an address of further models.
    """


@zoo.command("list")
@JSON
def list_models(as_json: bool) -> None:
    """List all models: entry on the boards, size, precision, licence, and the file or its host."""
    from robustbench_dml.models.zoo import stored, zoo_models

    rows = [
        {
            "name": model.name,
            "entry": model.entry,
            "MB": f"{model.bytes / 1e6:.1f}",
            "precision": model.precision,
            "licence": model.licence,
            "SHA-256": model.sha256 if as_json else model.sha256[:12],
            "from": str(stored(model) or model.url or "no host yet"),
        }
        for model in zoo_models()
    ]
    print_rows(rows, as_json=as_json)


@zoo.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--quiet", is_flag=True, help="Print only the files' paths.")
def fetch(names: tuple[str, ...], quiet: bool) -> None:
    """Get models, check their hashes, and print the paths of their files. After an interruption, give it again."""
    from robustbench_dml.models.zoo import fetch as fetch_one
    from robustbench_dml.utils.progress import Progress

    for name in names:
        click.echo(fetch_one(name, Progress(quiet)))


@zoo.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("runs", type=click.Path(path_type=Path), default=Path("runs"))
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="Of the weights; bf16 rounds them and halves the files.",
)
@click.option("--url", help="Future address of FOLDER, stored in its index.")
def build(folder: Path, runs: Path, precision: str, url: str | None) -> None:
    """Write the checkpoints in RUNS and their index to FOLDER, ready for a host.

    Put FOLDER on any static host and set $RBDML_ZOO to its address.
    """
    from robustbench_dml.runs.zoo import build_zoo

    for model in build_zoo(folder, runs, precision=precision, address=url):  # type: ignore[arg-type]
        click.echo(f"{model.name}  {model.bytes / 1e6:.1f} MB  {model.sha256[:12]}")
