"""Taking what asks a process to end for Ctrl-C, and letting an iteration finish before it takes effect."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HANG_UP = getattr(signal, "SIGHUP", None)  # the terminal was closed; not on Windows
ENDING = (signal.SIGTERM, *(() if HANG_UP is None else (HANG_UP,)))  # what is meant like Ctrl-C


class Interrupts:
    """`check()` raises KeyboardInterrupt if one is waiting."""

    def __init__(self) -> None:
        self._waiting = False

    def check(self) -> None:
        """Call where the state is whole."""
        if self._waiting:
            raise KeyboardInterrupt

    def _take(self, _: int, __: FrameType | None) -> None:
        if self._waiting:  # asked twice: at once
            raise KeyboardInterrupt
        self._waiting = True


@contextmanager
def deferred_interrupts(interrupts: Interrupts | None = None) -> Iterator[Interrupts]:
    """Hold Ctrl-C and `ENDING` until the next `check`; a second one is not held. Those that are ignored (`nohup`, a
    script's background jobs) stay so. Main thread only, elsewhere idle."""
    interrupts = interrupts or Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    heeded = [number for number in (signal.SIGINT, *ENDING) if not _ignored(number)]
    before = {number: signal.signal(number, interrupts._take) for number in heeded}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interrupted_by(*signals: signal.Signals) -> Iterator[None]:
    """Take these signals for Ctrl-C, but for those that are ignored (`nohup`). Main thread only, elsewhere idle."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in signals if not _ignored(number)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN
