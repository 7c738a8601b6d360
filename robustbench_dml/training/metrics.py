"""What a defense's loss wants to be seen: numbers that training makes anyway, kept for whoever watches it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

Logged = dict[str, Tensor]

_KEPT: ContextVar[Logged | None] = ContextVar("notes", default=None)


def log_value(name: str, values: Tensor) -> None:
    """Let the log of the run show the mean and the standard deviation of some values.

    For the loss of a defense; elsewhere it does nothing. Nothing is computed or copied here, so it costs nothing. The
    first values of a name count: a second triplet loss does not hide the one on the trained triplets.

    Args:
        name: what the log calls them.
        values: of any shape, on any device; they must not be changed in place afterwards.
    """
    kept = _KEPT.get()
    if kept is not None:
        kept.setdefault(name, values.detach())


@contextmanager
def collecting() -> Iterator[Logged]:
    """Keep what is noted inside, in this thread."""
    kept: Logged = {}
    token = _KEPT.set(kept)
    try:
        yield kept
    finally:
        _KEPT.reset(token)
