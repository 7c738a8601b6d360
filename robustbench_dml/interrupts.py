"""Letting an iteration finish before an interrupt takes effect."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


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
    """Hold Ctrl-C and SIGTERM until the next `check`; a second one is not held. Main thread only, elsewhere idle."""
    interrupts = interrupts or Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = {number: signal.signal(number, interrupts._take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
