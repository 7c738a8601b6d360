"""The exceptions that users are meant to see."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RbdmlError(Exception):
    """Bad input or a bad environment, told in one line: the cause, then the remedy.

    The command line prints the message without a traceback and exits with code 2. Anything else that
    escapes is a bug of ours and keeps its traceback.
    """


class DivergedError(RbdmlError):
    """Training came to a loss that is not finite; going on from its checkpoint would come to the same."""


class MissingDataError(RbdmlError):
    """A data set that is not on this machine."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'? ` for the nearest known name, nothing where none is near."""
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
    return f"did you mean '{close[0]}'? " if close else ""
