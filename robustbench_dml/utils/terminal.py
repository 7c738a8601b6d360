"""Safe text for a terminal: names in records, archives and files of others cannot send it control sequences."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import click


def inert(text: str) -> str:
    """Escape everything that is not printable as JSON does, except line ends. JSON text stays the same JSON."""
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def one_line(text: str) -> str:
    """Escape text and join its words with single blanks."""
    return inert(" ".join(text.split()))


def text_table(rows: Iterable[Mapping[str, object]]) -> str:
    """A table with the keys of the first row as headers."""
    from tabulate import tabulate

    return tabulate(list(rows), headers="keys", tablefmt="simple", disable_numparse=True)


def echo(text: str, *, err: bool = False) -> None:
    """Print text that may come from outside, escaped."""
    click.echo(inert(text), err=err)
