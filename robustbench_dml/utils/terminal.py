"""Text for a terminal: names in records, archives and files of others cannot steer it, and a message stays a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import click


def inert(text: str) -> str:
    """Lines in which everything that is not printable is written as JSON writes it: `\\u001b` for an escape.

    What is JSON stays the same JSON.
    """
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def one_line(text: str) -> str:
    """The same on one line, with single blanks."""
    return inert(" ".join(text.split()))


def text_table(rows: Iterable[Mapping[str, object]]) -> str:
    """A table with the keys of the first row as headers."""
    from tabulate import tabulate

    return tabulate(list(rows), headers="keys", tablefmt="simple", disable_numparse=True)


def echo(text: str, *, err: bool = False) -> None:
    """Print lines that may hold text from outside."""
    click.echo(inert(text), err=err)
