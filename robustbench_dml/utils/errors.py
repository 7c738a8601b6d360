"""Exceptions for users, and the wording of other people's exceptions."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pydantic import ValidationError


class RbdmlError(Exception):
    """Bad input or a bad environment. The message is one line: the cause, then the remedy.

    The command line prints it without a traceback and exits with code 2. Any other exception that escapes is a bug
    of this package and keeps its traceback.
    """


class DivergedError(RbdmlError):
    """The training loss is not finite. Resuming from the checkpoint would end the same way."""


class BusyError(RbdmlError):
    """Another process is doing the same work."""


class MissingDataError(RbdmlError):
    """A data set that is not on this machine."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'? ` for the nearest known name, or nothing."""
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
    return f"did you mean '{close[0]}'? " if close else ""


def reason(error: BaseException, limit: int = 200) -> str:
    """Return the cause of a failure on one line: the system's words, else the message, else the name of the type."""
    text = str(getattr(error, "strerror", None) or error)
    return " ".join(text.split())[:limit] or type(error).__name__


class InvalidValue(NamedTuple):
    """The first value that a pydantic model refuses.

    Attributes:
        name: dotted path to the value, empty for the whole model.
        value: the refused value.
        message: the refusal, in the words of pydantic.
        missing: the value is required and was not given.
    """

    name: str
    value: object
    message: str
    missing: bool

    def __str__(self) -> str:
        return f"{self.name} = {self.value!r}: {self.message.lower()}"


def first_invalid(error: ValidationError) -> InvalidValue:
    """Return the first problem of a pydantic validation."""
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    return InvalidValue(name, first["input"], first["msg"], first["type"] == "missing")
