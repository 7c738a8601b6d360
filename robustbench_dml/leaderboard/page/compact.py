"""Making what is written into the page small, and the same whatever processor worked it out."""

from __future__ import annotations

import json
import math
from typing import Any

DIGITS = 5  # of a number that was measured; the last digits can differ between processors
PLAIN = 1e15  # from here on whole numbers are written with an exponent


def brief(value: float, digits: int = DIGITS) -> float | int:
    """A measured number with its first digits, whole where it is."""
    rounded = float(f"{value:.{digits}g}")
    if not math.isfinite(rounded):  # rounded up beyond the largest
        return value
    return int(rounded) if rounded.is_integer() and abs(rounded) < PLAIN else rounded


class Shared:
    """Values that many places have in common, each kept once and known by its place.

    Attributes:
        values: each different one, in the order of their first use.
    """

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}

    def place(self, value: Any) -> int:
        """Where an equal value is; it is added where there is none."""
        key = json.dumps(value)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]
