"""Compact numbers and shared values for the page, the same on every processor."""

from __future__ import annotations

import json
import math
from typing import Any

DIGITS = 5  # digits of a measured number; later digits can differ between processors
PLAIN = 1e15  # larger whole numbers are written with an exponent


def brief(value: float, digits: int = DIGITS) -> float | int:
    """Round a measured number to its first digits; the result is an integer if it is whole."""
    rounded = float(f"{value:.{digits}g}")
    if not math.isfinite(rounded):  # rounded up beyond the largest
        return value
    return int(rounded) if rounded.is_integer() and abs(rounded) < PLAIN else rounded


class Shared:
    """Values that occur often, each stored once and referred to by its index."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._indices: dict[str, int] = {}

    def index(self, value: Any) -> int:
        """Return the index of an equal value, after adding the value if no equal value is stored."""
        key = json.dumps(value)
        if key not in self._indices:
            self._indices[key] = len(self.values)
            self.values.append(value)
        return self._indices[key]
