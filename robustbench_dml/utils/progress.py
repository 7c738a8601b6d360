"""Progress on standard error: bars on a terminal, a line a minute elsewhere, nothing with `--quiet`."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from robustbench_dml.utils.terminal import one_line

EVERY = 60.0  # seconds between two lines
BAR = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{unit}, {remaining} left{postfix}"


class Bar:
    """The progress of one piece of work."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._begun = False

    def advance_to(self, value: float, **shown: float) -> None:
        """Move to this value and show these numbers beside the bar. Work before the first call has no speed."""
        if self._bar.disable:
            return
        if not self._begun:
            self._begun = True
            self._bar.initial = self._bar.n = value
        if shown:
            unit = self._bar.unit.strip()
            beside = {name: _number(number) for name, number in shown.items() if name != unit}
            self._bar.set_postfix(beside, refresh=False)
        self._bar.update(min(value, self._bar.total or value) - self._bar.n)

    def advance_by(self, step: float) -> None:
        """Move on by this much."""
        self._bar.update(step)


class _Lines(io.TextIOBase):
    """The file of a bar whose every state becomes one line on standard error."""

    def write(self, text: str) -> int:
        if text.strip():
            print(f"rbdml: {one_line(text)}", file=sys.stderr)
        return len(text)


@dataclass(frozen=True)
class Progress:
    """Prints messages and progress on standard error, unless quiet."""

    quiet: bool = False

    def say(self, message: str) -> None:
        """Print one line."""
        if not self.quiet:
            tqdm.write(f"rbdml: {one_line(message)}", file=sys.stderr)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show a line on a terminal while some work of unknown length lasts."""
        silent = self.quiet or not sys.stderr.isatty()
        with tqdm(desc=f"{title} ...", bar_format="{desc}", leave=False, disable=silent):
            yield

    @contextmanager
    def bar(self, total: float, title: str, unit: str) -> Iterator[Bar]:
        """Show the progress from 0 to `total` and the time left: without a terminal, in a line a minute."""
        settings: dict[str, Any] = {"bar_format": BAR} if 0 < total < float("inf") else {}
        bars = _bars()
        if not (self.quiet or sys.stderr.isatty() or bars is not tqdm):
            how_far = "{percentage:.0f}% {n_fmt}/{total_fmt}" if 0 < total < float("inf") else "{n_fmt}"
            left = ", {remaining} left" if 0 < total < float("inf") else ""
            settings = {
                "file": _Lines(),
                "mininterval": EVERY,
                "miniters": 0,
                "delay": EVERY,
                "smoothing": 0,
                "position": 0,
                "bar_format": "{desc} " + how_far + "{unit}{postfix}" + left,
            }
        with bars(
            total=total, desc=title, unit=f" {unit}", unit_scale=True, disable=self.quiet, leave=False, **settings
        ) as bar:
            yield Bar(bar)


def _bars() -> type[tqdm[Any]]:
    """Return tqdm's bars of notebooks where they can be shown, else those of terminals."""
    if "IPython" not in sys.modules:  # tqdm.auto is slow to import
        return tqdm
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets, terminals' bars are used
        from tqdm import auto
    widgets = any(cls.__module__ == "tqdm.notebook" for cls in auto.tqdm.__mro__)
    return auto.tqdm if widgets else tqdm


def _number(number: float) -> str:
    return tqdm.format_sizeof(number) if abs(number) >= 1000 else f"{number:.3g}"
