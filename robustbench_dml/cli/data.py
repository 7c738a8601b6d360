"""`rbdml data`: what data is here, and getting what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustbench_dml.cli.options import JSON, take
from robustbench_dml.utils.terminal import text_table


@click.group()
def data() -> None:
    """See which data sets are here, and get those that are not."""


@data.command()
@click.argument("names", nargs=-1)
@take("data-root")
@click.option("--verify", is_flag=True, help="Read the decoded images again and compare their hashes.")
@JSON
def status(names: tuple[str, ...], data_root: Path | None, verify: bool, as_json: bool) -> None:
    """Each data set: found or not, where, images and classes, decoded or not, hash."""
    import json

    from robustbench_dml.datasets.base import DataPaths
    from robustbench_dml.datasets.status import status_rows

    rows = status_rows(names, DataPaths(data_root), verify=verify)
    click.echo(json.dumps(rows, indent=1) if as_json else text_table([_short(row) for row in rows]))


@data.command()
@click.argument("name")
@take("data-root")
@click.option("--from", "source", type=click.Path(path_type=Path), help="An archive or a folder that is here already.")
@click.option("--url", "urls", multiple=True, help="A mirror: the file's address, or its folder's; repeatable.")
@click.option("--no-cache", is_flag=True, help="Check the images without keeping them decoded.")
@click.option("--quiet", is_flag=True, help="Print the folder of the set and nothing else.")
def prepare(
    name: str,
    data_root: Path | None,
    source: Path | None,
    urls: tuple[str, ...],
    no_cache: bool,
    quiet: bool,
) -> None:
    """Download a data set, or take it from an archive or a folder; check it; decode its images once.

    Give the same command again after an interruption: it goes on where it was.
    """
    from robustbench_dml.datasets.base import DataPaths, DownloadRequest
    from robustbench_dml.datasets.status import prepare_dataset
    from robustbench_dml.utils.progress import Progress

    paths = DataPaths(data_root, cache=not no_cache, progress=Progress(quiet))
    found = prepare_dataset(name, paths, DownloadRequest(urls, source))
    click.echo(found.where)
    if not quiet:
        click.echo(entries(found))


def entries(found: Any) -> str:
    """What was found, for a person."""
    train, test = found.train, found.test
    hashes = ", ".join(f"{part} {digest[:12]}" for part, digest in found.hashes.items())
    return (
        f"{train[0]:,} training images of {train[1]:,} classes, {test[0]:,} test images of {test[1]:,} classes; "
        f"decoded: {found.decoded}; SHA-256 {hashes}"
    )


def _short(row: dict[str, str]) -> dict[str, str]:
    return {**row, "SHA-256": " ".join(part[:21] for part in row["SHA-256"].split())}
