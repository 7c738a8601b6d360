"""Safe text for a terminal: names in records, archives and files of others cannot send it control sequences."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence

import click

NARROWEST = 8  # characters of a cell, where rows are columns
SHORTEST = 16  # characters of a wrapped column
GAP = 2  # characters between columns
PADDING = 2  # characters that tabulate adds to a header


def inert(text: str) -> str:
    """Escape everything that is not printable as JSON does, except line ends. JSON text stays the same JSON."""
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def one_line(text: str) -> str:
    """Escape text and join its words with single blanks."""
    return inert(" ".join(text.split()))


def show_all_columns(context: click.Context, wide: bool) -> None:
    """Make the tables of this command as wide as their text (`--wide`)."""
    context.meta[__name__] = wide


def text_table(rows: Iterable[Mapping[str, object]]) -> str:
    """Return a table with the keys of the first row as headers.

    On a terminal that is too narrow, long cells are wrapped. If that is not enough, a few rows become columns, and of
    many rows the last columns are left out, with a line that names them.
    """
    rows = list(rows)
    text, screen = _table(rows), _screen()
    if not rows or _width(text) <= screen:
        return text
    return _wrapped(rows, screen) or _turned(rows, screen) or _cut(rows, screen)


def _screen() -> float:
    """Return the columns of the terminal: any number without one, or with `--wide`."""
    context = click.get_current_context(silent=True)
    if not sys.stdout.isatty() or (context and context.meta.get(__name__)):
        return float("inf")
    return shutil.get_terminal_size().columns


def _table(rows: Sequence[Mapping[str, object]], widths: Sequence[int] | None = None) -> str:
    from tabulate import tabulate

    return tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True, maxcolwidths=widths)


def _width(text: str) -> int:
    return max(map(len, text.splitlines()))


def _wrapped(rows: Sequence[Mapping[str, object]], screen: float) -> str:
    """Return a table whose longest columns are wrapped, "" if one would get fewer than SHORTEST characters."""
    lengths = {name: max(len(name) + PADDING, *(len(str(row.get(name, ""))) for row in rows)) for name in rows[0]}
    left, widths = screen - GAP * (len(lengths) - 1), dict(lengths)
    for count, name in enumerate(sorted(lengths, key=lengths.__getitem__)):  # short columns first
        share = int(left // (len(lengths) - count))
        widths[name] = min(lengths[name], share)
        if share < min(lengths[name], SHORTEST):
            return ""
        left -= widths[name]
    return _table(rows, list(widths.values()))


def _turned(rows: Sequence[Mapping[str, object]], screen: float) -> str:
    """Return a table with a line for each column, "" where the cells would be too narrow."""
    from tabulate import tabulate

    width = int(screen - max(map(len, rows[0]))) // len(rows) - GAP
    if width < NARROWEST:
        return ""
    turned = [[name, *(row.get(name, "") for row in rows)] for name in rows[0]]
    return tabulate(turned, tablefmt="plain", maxcolwidths=[None, *[width] * len(rows)], disable_numparse=True)


def _cut(rows: Sequence[Mapping[str, object]], screen: float) -> str:
    """Return the first columns that fit, and a line that names the others."""
    names = list(rows[0])
    for count in range(len(names) - 1, 0, -1):
        some = [{name: row.get(name, "") for name in names[:count]} for row in rows]
        text = _table(some)
        text = text if _width(text) <= screen else _wrapped(some, screen)
        if text:
            return f"{text}\nmore columns with --wide: {', '.join(names[count:])}"
    return _table(rows)


def echo(text: str, *, err: bool = False) -> None:
    """Print text that may come from outside, escaped."""
    click.echo(inert(text), err=err)
