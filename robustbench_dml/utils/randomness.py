"""Randomness without shared state: every draw is a function of what it is for.

No result depends on the order in which things are drawn, on batch sizes or on what ran before. Generators are
always on the CPU, and what is drawn per item is integer arithmetic, so a seed means the same on every device.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Key = str | int


def seed_of(*key: Key) -> int:
    """A seed in [0, 2^63) from any key, for instance ``seed_of(run_seed, "pairs", epoch)``."""
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(*key: Key) -> torch.Generator:
    """A fresh CPU generator for this key."""
    return torch.Generator().manual_seed(seed_of(*key))


def uniform_per_item(items: Tensor, draws: int, *, key: tuple[Key, ...], first: int = 0) -> Tensor:
    """Uniform numbers that belong to each item, whatever other items are asked for in the same call.

    Args:
        items: (B,) integers, for instance rows of the gallery.
        draws: how many numbers per item.
        key: what they are for.
        first: the place of the first one in the item's endless row of numbers, to draw it in parts.

    Returns:
        (B, draws) float64 in [0, 1), on the items' device: SplitMix64 (Steele et al., OOPSLA 2014) of key, item and
        draw.
    """
    place = torch.arange(first, first + draws, device=items.device)
    bits = _mix(_mix(_mix(items.long()[:, None]) + seed_of(*key) + place))  # modulo 2^64, as int64 wraps around
    return _shifted(bits, 11).double().mul_(2.0**-53)


def normal_of(uniform: Tensor) -> Tensor:
    """Standard normal numbers from uniform ones in [0, 1), one from each, none of them infinite."""
    return torch.special.ndtri(uniform.clamp_min(2.0**-54))


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """On the CPU, sums in an order that threads do not decide; everywhere, global generators as they were after.

    Without it the gradient of indexing adds up rows that were taken twice by atomic additions.
    """
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices):  # dropout draws from the global generators, which are the caller's
        yield from _in_fixed_order(device)


def _in_fixed_order(device: torch.device) -> Iterator[None]:
    deterministic: Any = torch.utils.deterministic
    before, fill = torch.are_deterministic_algorithms_enabled(), deterministic.fill_uninitialized_memory
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
        deterministic.fill_uninitialized_memory = False  # a debugging aid that costs time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        deterministic.fill_uninitialized_memory = fill


def _mix(x: Tensor) -> Tensor:
    x = x + _signed(0x9E3779B97F4A7C15)
    x.bitwise_xor_(_shifted(x, 30)).mul_(_signed(0xBF58476D1CE4E5B9))
    x.bitwise_xor_(_shifted(x, 27)).mul_(_signed(0x94D049BB133111EB))
    return x.bitwise_xor_(_shifted(x, 31))


def _shifted(x: Tensor, places: int) -> Tensor:
    """Shifted right with zeros coming in, as of unsigned numbers."""
    return (x >> places).bitwise_and_((1 << (64 - places)) - 1)


def _signed(unsigned: int) -> int:
    return unsigned - (1 << 64) if unsigned >= 1 << 63 else unsigned
