"""Values that a defense logs while it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

Logged = dict[str, Tensor]

_COLLECTED: ContextVar[Logged | None] = ContextVar("logged", default=None)


def log_value(name: str, values: Tensor) -> None:
    """Log the mean and standard deviation of some values in the log of the run.

    Call it in `perturb` or `loss` of a defense; elsewhere it has no effect. It computes and copies nothing. The first
    values of a name in `loss` count, so that a second triplet loss does not hide the hardness of the trained triplets.

    Args:
        name: name in the log. `destination` is compared with the hardness instead.
        values: a tensor of any shape on any device. Do not change it in place afterwards.
    """
    logged = _COLLECTED.get()
    if logged is not None:
        logged.setdefault(name, values.detach())


@contextmanager
def collecting() -> Iterator[Logged]:
    """Collect the values logged in this thread."""
    logged: Logged = {}
    token = _COLLECTED.set(logged)
    try:
        yield logged
    finally:
        _COLLECTED.reset(token)
