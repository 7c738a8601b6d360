"""Ctrl-C, SIGTERM and a closed terminal: exit code 130, one line, and the same command goes on."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from faults.trial import Ended, Trial

MESSAGE = "rbdml: interrupted; the same command goes on from here"


@pytest.mark.parametrize("phase", ["training", "evaluation", "writing"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(
    trial: Trial, usual: Ended, ends_the_same: Callable[[Trial], Ended], number: signal.Signals, phase: str
) -> None:
    writes = usual.timeline.writes_in(phase)
    cut = trial.attempt(strike=writes[len(writes) // 2], number=number)
    assert cut.code == 130
    assert cut.printed.strip() == MESSAGE
    again = ends_the_same(trial)
    assert cut.timeline.work + again.timeline.work == usual.timeline.work  # nothing was lost
