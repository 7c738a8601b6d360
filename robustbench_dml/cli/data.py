"""`rbdml data`: the data sets on this machine, and downloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustbench_dml.cli.options import JSON, take
from robustbench_dml.cli.output import print_rows


@click.group()
def data() -> None:
    """Show the data sets on this machine, and prepare others."""


@data.command()
@click.argument("names", nargs=-1)
@take("data-root")
@click.option("--verify", is_flag=True, help="Read the decoded images again and compare their hashes.")
@JSON
def status(names: tuple[str, ...], data_root: Path | None, verify: bool, as_json: bool) -> None:
    """Show for each data set: folder, images and classes, decoded or not, hash."""
    from robustbench_dml.datasets.base import DataPaths
    from robustbench_dml.datasets.status import status_rows

    rows = status_rows(names, DataPaths(data_root), verify=verify)
    print_rows(rows if as_json else map(_shortened, rows), as_json=as_json)


@data.command()
@click.argument("name")
@take("data-root")
@click.option("--from", "source", type=click.Path(path_type=Path), help="Archive or folder on this machine.")
@click.option("--url", "urls", multiple=True, help="URL of a mirror's file or folder; repeatable.")
@click.option("--no-cache", is_flag=True, help="Check the images without storing them decoded.")
@click.option("--quiet", is_flag=True, help="Print only the data set's folder.")
def prepare(
    name: str,
    data_root: Path | None,
    source: Path | None,
    urls: tuple[str, ...],
    no_cache: bool,
    quiet: bool,
) -> None:
    """Get a data set by download or from an archive or folder. Check it and decode its images.

    After an interruption, the same command resumes.
    """
    from robustbench_dml.datasets.base import DataPaths, DownloadRequest
    from robustbench_dml.datasets.status import prepare_dataset
    from robustbench_dml.utils.progress import Progress

    paths = DataPaths(data_root, cache=not no_cache, progress=Progress(quiet))
    dataset = prepare_dataset(name, paths, DownloadRequest(urls, source))
    click.echo(dataset.where)
    if not quiet:
        click.echo(_summary(dataset))


def _summary(dataset: Any) -> str:
    """Images, classes and hashes of a DatasetStatus."""
    train, test = dataset.train, dataset.test
    hashes = ", ".join(f"{part} {digest[:12]}" for part, digest in dataset.hashes.items())
    return (
        f"{train[0]:,} training images of {train[1]:,} classes, {test[0]:,} test images of {test[1]:,} classes; "
        f"decoded: {dataset.decoded}; SHA-256 {hashes}"
    )


def _shortened(row: dict[str, str]) -> dict[str, str]:
    return {**row, "SHA-256": " ".join(part[:21] for part in row["SHA-256"].split())}
