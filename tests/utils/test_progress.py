"""Bars on a terminal, a line a minute elsewhere: by a clock that the tests set."""

from __future__ import annotations

import math

import pytest

from robustbench_dml.utils.progress import Progress


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("tqdm.std.time", clock)
    return clock


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """New text on standard error. Standard output stays empty."""
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_a_line_a_minute_with_all_that_is_known(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress().bar(27_000, "train act", "passes") as bar:
        bar.advance_to(0)
        for second in range(1, 200):
            clock.now += 1
            bar.advance_to(100 * second, loss=0.12345, passes=100 * second)
    assert lines(capsys) == [
        "rbdml: train act 22% 6.00k/27.0k passes, loss=0.123, 03:30 left",
        "rbdml: train act 44% 12.0k/27.0k passes, loss=0.123, 02:30 left",
        "rbdml: train act 67% 18.0k/27.0k passes, loss=0.123, 01:30 left",
    ]


def test_work_of_less_than_a_minute_prints_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress().bar(59, "attack", "queries") as bar:
        for _ in range(59):
            clock.now += 1
            bar.advance_by(1)
    assert lines(capsys) == []


def test_earlier_work_does_not_count_for_the_time_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress().bar(100_000, "train act", "s") as bar:
        bar.advance_to(90_000)
        clock.now += 60
        bar.advance_to(90_060, passes=12_345)
    assert lines(capsys) == ["rbdml: train act 90% 90.1k/100k s, passes=12.3k, 2:45:40 left"]


def test_no_end_and_no_speed_are_no_fault(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress().bar(math.inf, "images.zip", "B") as bar:
        clock.now += 60
        bar.advance_by(5e6)
    with Progress().bar(0, "nothing", "queries") as bar:
        clock.now += 60
        bar.advance_by(0)
    assert lines(capsys) == ["rbdml: images.zip 5.00M B", "rbdml: nothing 0.00 queries"]


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_is_quiet(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    progress = Progress(quiet=True)
    with progress.bar(1000, "train", "passes") as bar:
        clock.now += 100
        bar.advance_to(10, loss=1.0)
    progress.say("a warning")
    assert lines(capsys) == []


def test_a_terminal_has_a_bar_and_no_lines(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Progress().bar(1000, "train act", "passes") as bar:
        clock.now += 100
        bar.advance_to(10, loss=1.0)
    _, err = capsys.readouterr()
    assert "train act" in err and "rbdml:" not in err
