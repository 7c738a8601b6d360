"""Randomness without shared state: each draw is a function of its key.

No result depends on the order of draws, on batch sizes or on earlier work. Generators live on the CPU, and draws per
item are integer arithmetic, so a seed means the same on every device.
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
    """Return a seed in [0, 2^63) for a key, for instance ``seed_of(run_seed, "pairs", epoch)``."""
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(*key: Key) -> torch.Generator:
    """Return a new CPU generator for this key."""
    return torch.Generator().manual_seed(seed_of(*key))


def uniform_per_item(items: Tensor, draws: int, *, key: tuple[Key, ...], first: int = 0) -> Tensor:
    """Draw uniform numbers for each item, independently of the other items in the call.

    The generator is SplitMix64 (Steele et al., OOPSLA 2014) of key, item and draw.

    Args:
        items: (B,) integers, for instance rows of the gallery.
        draws: numbers per item.
        key: names the use of the numbers.
        first: index of the first draw in the item's endless sequence, for drawing it in parts.

    Returns:
        (B, draws) float64 in [0, 1), on the items' device.
    """
    index = torch.arange(first, first + draws, device=items.device)
    bits = _mix(_mix(_mix(items.long()[:, None]) + seed_of(*key) + index))  # modulo 2^64, as int64 wraps around
    return _shifted(bits, 11).double().mul_(2.0**-53)


def normal_of(uniform: Tensor) -> Tensor:
    """Turn uniform numbers in [0, 1) into standard normal ones, all finite."""
    return torch.special.ndtri(uniform.clamp_min(2.0**-54))


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Fix the order of sums on the CPU, and restore the global generators at the end.

    By default, the gradient of indexing adds up repeated rows by atomic additions, in the order of the threads.
    """
    deterministic: Any = torch.utils.deterministic
    before, fill = torch.are_deterministic_algorithms_enabled(), deterministic.fill_uninitialized_memory
    with torch.random.fork_rng([] if device.type == "cpu" else [device]):  # dropout draws from the global generators
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


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift right as unsigned numbers, with zeros coming in."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _signed(unsigned: int) -> int:
    return unsigned - (1 << 64) if unsigned >= 1 << 63 else unsigned
