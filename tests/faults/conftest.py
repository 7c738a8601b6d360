"""One run that is not interrupted, and copies of it or empty folders for those that are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.trial import Ended, Trial

if sys.platform != "linux":  # what a process has open is asked of /proc
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trial, Ended]:
    """A run as it is meant to be."""
    trial = Trial(tmp_path_factory.mktemp("whole"), draws=False)
    ended = trial.attempt()
    assert ended.code == 0, ended.printed
    return trial, ended


@pytest.fixture
def whole(uninterrupted: tuple[Trial, Ended]) -> Trial:
    """What is not interrupted."""
    return uninterrupted[0]


@pytest.fixture
def usual(uninterrupted: tuple[Trial, Ended]) -> Ended:
    """How that goes."""
    return uninterrupted[1]


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    """One that is to be interrupted."""
    return Trial(tmp_path / "trial", draws=False)


@pytest.fixture
def ends_the_same(whole: Trial) -> Callable[[Trial], Ended]:
    """Gives the same command again and compares what it comes to with what is not interrupted."""

    def end(trial: Trial) -> Ended:
        ended = trial.attempt()
        assert ended.code == 0, ended.printed
        assert trial.result().differences(whole.result()) == []
        return ended

    return end
