"""Safe text for a terminal: names in records, archives and files of others cannot send it control sequences."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping

import click

NARROWEST = 8  # characters of a column


def inert(text: str) -> str:
    """Escape everything that is not printable as JSON does, except line ends. JSON text stays the same JSON."""
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def one_line(text: str) -> str:
    """Escape text and join its words with single blanks."""
    return inert(" ".join(text.split()))


def text_table(rows: Iterable[Mapping[str, object]]) -> str:
    """A table with the keys of the first row as headers. Rows become columns where a terminal is too narrow."""
    from tabulate import tabulate

    rows = list(rows)
    text = tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)
    screen = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(text)
    if not rows or text.find("\n") <= screen:
        return text
    width = (screen - max(map(len, rows[0]))) // len(rows) - 2
    if width < NARROWEST:
        return text
    turned = [[name, *(row.get(name, "") for row in rows)] for name in rows[0]]
    return tabulate(turned, tablefmt="plain", maxcolwidths=[None, *[width] * len(rows)], disable_numparse=True)


def echo(text: str, *, err: bool = False) -> None:
    """Print text that may come from outside, escaped."""
    click.echo(inert(text), err=err)
