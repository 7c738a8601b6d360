"""Every target there is."""

from __future__ import annotations

from pathlib import Path

from fuzz import files, records, words
from fuzz.target import Target, inside


def targets(folder: Path) -> dict[str, Target]:
    """By name; their seeds are made below this folder."""
    with inside(folder):
        return {target.name: target for kind in (words, records, files) for target in kind.targets()}
