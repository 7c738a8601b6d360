"""Ctrl-C and the signals that end a process, held back until an iteration is complete."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

HANG_UP = getattr(signal, "SIGHUP", None)  # the terminal was closed; not on Windows
ENDING = (signal.SIGTERM, *(() if HANG_UP is None else (HANG_UP,)))  # handled like Ctrl-C
PR_SET_PDEATHSIG = 1  # of linux/prctl.h

Handler = Callable[[int, FrameType | None], object]


def end_with_parent() -> None:
    """Let Linux send SIGTERM to this process when its parent ends, be it killed."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended in between
        os.kill(os.getpid(), signal.SIGTERM)


class Interrupts:
    """Remembers a signal until `check` raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self._waiting = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal waits. Call this where the state is complete."""
        if self._waiting:
            raise KeyboardInterrupt

    def _take(self, _: int, __: FrameType | None) -> None:
        if self._waiting:  # the second signal takes effect at once
            raise KeyboardInterrupt
        self._waiting = True


@contextmanager
def deferred_interrupts(interrupts: Interrupts | None = None) -> Iterator[Interrupts]:
    """Hold Ctrl-C and `ENDING` until the next `check`. A second signal is not held."""
    interrupts = interrupts or Interrupts()
    with _handled(interrupts._take, signal.SIGINT, *ENDING):
        yield interrupts


@contextmanager
def interrupted_by(*signals: signal.Signals) -> Iterator[None]:
    """Raise KeyboardInterrupt on these signals."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled(interrupt, *signals):
        yield


@contextmanager
def _handled(handler: Handler, *signals: signal.Signals) -> Iterator[None]:
    """Handle signals, except ignored ones: `nohup` and a script's background jobs. Idle outside the main thread."""
    heeded = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread():
        heeded = []
    before = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
