"""Progress bars that stay out of the way of pipes and of `--quiet`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from robustbench_dml.terminal import one_line


class Bar:
    """One bar."""

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


@dataclass(frozen=True)
class Progress:
    """Makes bars on standard error; silent when that is not a terminal, or when asked to be."""

    quiet: bool = False

    def say(self, message: str) -> None:
        """One line on standard error, unless quiet."""
        if not self.quiet:
            tqdm.write(f"rbdml: {one_line(message)}", file=sys.stderr)

    @contextmanager
    def bar(self, total: float, title: str, unit: str) -> Iterator[Bar]:
        """A bar with the time left, from 0 to `total`."""
        silent = self.quiet or not sys.stderr.isatty()
        with tqdm(total=total, desc=title, unit=f" {unit}", unit_scale=True, disable=silent, leave=False) as bar:
            yield Bar(bar, total)
