"""Edits of valid input, chosen by a few bytes, so that a fuzzer gets past the schema of a file."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

# What somebody hostile, or a bad disk, puts in the place of a value.
POOL: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    7,
    2**31,
    2**63,
    10**30,
    0.5,
    -0.0,
    1e-300,
    1e308,
    -1e308,
    "",
    "x",
    "\x1b[2J\x9b31m",
    "<script>alert(1)</script>",
    "a\nb",
    "\u202egnp.exe",
    "../../etc/passwd",
    "/dev/zero",
    "n" * 300,
    "0" * 64,
    "glyphs-mini",
    "folder:.",
    "ers-published",
    "autorank",
    "square",
    "hm-s-m",
    "mine.py:factory",
    "R@1",
    "CA+",
    "$x^{2$",
    "nan",
    [],
    {},
    [[]],
    ["x"],
    {"x": 1.0},
    [1.0, -1.0],
)
STEP = 4  # bytes of one edit
MOST = 6  # edits


def edited(tree: Any, data: bytes) -> Any:
    """Replace, remove, move or rename up to `MOST` values of a JSON tree, chosen by the bytes."""
    tree = copy.deepcopy(tree)
    for start in range(0, min(len(data), MOST * STEP), STEP):
        place, kind, value = data[start : start + 2], *data[start + 2 : start + STEP].ljust(2, b"\0")
        places = list(_places(tree))
        if not places:
            break
        holder, key = places[int.from_bytes(place) % len(places)]
        _edit(holder, key, kind % 8, value, places)
    return tree


def _edit(holder: Any, key: Any, kind: int, value: int, places: list[tuple[Any, Any]]) -> None:
    chosen = copy.deepcopy(POOL[value % len(POOL)])
    if kind == 0:
        del holder[key]
    elif kind == 1:
        other, where = places[value % len(places)]
        holder[key] = copy.deepcopy(other[where])
    elif kind == 2 and isinstance(holder, dict):
        holder[str(chosen)] = holder.pop(key)
    else:
        holder[key] = chosen


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every value of a tree, as its container and its key."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


def spliced(whole: bytes, data: bytes) -> bytes:
    """Overwrite, cut or insert a few bytes: 2 bytes of position, the kind of edit, the new byte."""
    found = bytearray(whole)
    for start in range(0, min(len(data), MOST * STEP), STEP):
        place = int.from_bytes(data[start : start + 2]) % (len(found) + 1)
        kind, value = data[start + 2 : start + STEP].ljust(2, b"\0")
        length = 1 + value % 16
        if kind % 4 == 0:
            del found[place : place + length]
        elif kind % 4 == 1:
            found[place:place] = found[:length]
        elif kind % 4 == 2:
            found[place : place + length] = bytes([255 * (value % 2)]) * length
        else:
            found[place : place + 1] = bytes([value])
    return bytes(found)
