"""Signals that end a process act like Ctrl-C, at once or when the state is complete."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from robustbench_dml.utils.interrupts import ENDING, HANG_UP, deferred_interrupts, interrupted_by


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Restore the signal handlers after each test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDING)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING)
def test_it_is_taken_for_an_interrupt_and_only_inside(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interrupted_by(*ENDING):
        signal.raise_signal(number)
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", ENDING)
def test_ignored_signals_stay_ignored(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    with interrupted_by(*ENDING):
        signal.raise_signal(number)


@pytest.mark.parametrize("number", [signal.SIGINT, *ENDING])
def test_the_first_is_held_until_it_is_asked_for_and_the_second_is_not(number: signal.Signals) -> None:
    with deferred_interrupts() as pending:
        signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            pending.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


def test_a_process_that_outlives_its_terminal_is_not_held_up() -> None:
    if HANG_UP is None:
        pytest.skip("there is no SIGHUP on this system")
    signal.signal(HANG_UP, signal.SIG_IGN)
    with deferred_interrupts() as pending:
        signal.raise_signal(HANG_UP)
        pending.check()


@pytest.mark.parametrize("number", [signal.SIGINT, *ENDING])
def test_ignored_signals_stay_ignored_where_interrupts_are_held(number: signal.Signals) -> None:
    """The shell has its background jobs ignore Ctrl-C."""
    signal.signal(number, signal.SIG_IGN)
    with deferred_interrupts() as pending:
        signal.raise_signal(number)
        pending.check()
    assert signal.getsignal(number) is signal.SIG_IGN


PARENT = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]])
input()
"""
CHILD = """
import time
from robustbench_dml.utils.interrupts import end_with_parent
end_with_parent()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells a process that its parent has ended")
def test_a_process_ends_with_its_parent() -> None:
    words = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
        assert parent.stdout.read() == ""  # the end of the output that both wrote to: the child has ended, too
