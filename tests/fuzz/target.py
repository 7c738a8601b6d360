"""Fuzz targets and the check of their answers: input is accepted, or refused in one line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from click.exceptions import UsageError

from robustbench_dml.utils.errors import RbdmlError

LONGEST = 3000  # characters of a message


@dataclass(frozen=True)
class Target:
    """Something that reads bytes from outside.

    Attributes:
        name: on the command line.
        feed: gives it bytes; the folder is empty and is the current one.
        seeds: input that it takes, and input that once broke it.
    """

    name: str
    feed: Callable[[bytes, Path], object]
    seeds: Sequence[bytes]


def judge(target: Target, data: bytes, folder: Path) -> str | None:
    """Why the input was refused, None where it was taken; anything else that it does is an exception."""
    try:
        with inside(folder):
            target.feed(data, folder)
    except (RbdmlError, UsageError) as error:
        message = str(error)
        assert message.strip()
        assert len(message) < LONGEST, "a message that fills the screen"
        return message
    return None


def shown(text: str) -> None:
    """Check that a text is safe for a terminal: lines of printable characters."""
    for line in text.split("\n"):
        assert line.isprintable(), f"would reach the terminal: {line!r}"


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """With this current folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
