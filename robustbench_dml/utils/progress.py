"""Progress on standard error: bars on a terminal, a line a minute elsewhere, nothing with `--quiet`."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

from tqdm import tqdm

from robustbench_dml.utils.terminal import one_line

EVERY = 60.0  # seconds between two lines
MINUTE, HOUR = 60, 3600


class Bar:
    """The progress of one piece of work: a bar on a terminal, or nothing."""

    def __init__(self, bar: Any, total: float) -> None:
        self._bar, self._total = bar, total

    def advance_to(self, value: float, **shown: float) -> None:
        """Move to this value and show these numbers beside the bar."""
        if self._bar.disable:
            return
        if shown:
            self._bar.set_postfix({name: f"{number:.4g}" for name, number in shown.items()}, refresh=False)
        self._bar.update(min(value, self._total) - self._bar.n)

    def advance_by(self, step: float) -> None:
        """Move on by this much."""
        self._bar.update(step)


class Lines(Bar):
    """A line a minute, for logs. Work of less than a minute prints nothing."""

    def __init__(self, total: float, title: str, unit: str, say: Callable[[str], object]) -> None:
        super().__init__(None, total)
        self._title, self._unit, self._say = title, unit, say
        self._value = 0.0
        self._shown: dict[str, float] = {}
        self._first: tuple[float, float] | None = None  # time and value of the first call: earlier work has no speed
        self._said = monotonic()

    def advance_to(self, value: float, **shown: float) -> None:
        """See `Bar`."""
        self._value, now = value, monotonic()
        self._shown = shown or self._shown
        self._first = self._first or (now, value)
        if now - self._said >= EVERY:
            self._said = now
            self._say(self._line(now))

    def advance_by(self, step: float) -> None:
        """See `Bar`."""
        self.advance_to(self._value + step)

    def _line(self, now: float) -> str:
        """Format a line such as `train hm-lga-ics 45% 12.3k/27.0k passes, loss 0.123, 3 min left`."""
        done, total = (tqdm.format_sizeof(number) for number in (self._value, self._total))
        bounded = math.isfinite(self._total) and self._total > 0
        how_far = f"{self._value / self._total:.0%} {done}/{total}" if bounded else done
        beside = [f"{name} {_number(number)}" for name, number in self._shown.items() if name != self._unit]
        left = [f"{_duration(seconds)} left"] if bounded and (seconds := self._left(now)) is not None else []
        return ", ".join([f"{self._title} {how_far} {self._unit}", *beside, *left])

    def _left(self, now: float) -> float | None:
        """Seconds left at the mean speed since the first call; None before any progress."""
        begun, before = self._first or (now, self._value)
        if self._value <= before:
            return None
        return max(0.0, self._total - self._value) * (now - begun) / (self._value - before)


@dataclass(frozen=True)
class Progress:
    """Prints messages and progress on standard error, unless quiet."""

    quiet: bool = False

    def say(self, message: str) -> None:
        """Print one line."""
        if not self.quiet:
            tqdm.write(f"rbdml: {one_line(message)}", file=sys.stderr)

    @contextmanager
    def bar(self, total: float, title: str, unit: str) -> Iterator[Bar]:
        """Show the progress from 0 to `total` and the time left."""
        if not (self.quiet or sys.stderr.isatty()):
            yield Lines(total, title, unit, partial(Progress.say, self))  # not `self.say`: a log keeps warnings only
            return
        with tqdm(total=total, desc=title, unit=f" {unit}", unit_scale=True, disable=self.quiet, leave=False) as bar:
            yield Bar(bar, total)


def _number(number: float) -> str:
    return tqdm.format_sizeof(number) if abs(number) >= 1000 else f"{number:.3g}"


def _duration(seconds: float) -> str:
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} h"
