"""Benchmarks are scripts, which import each other from their own folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def folder() -> Iterator[None]:
    """Have them on the path, for these tests alone."""
    scripts = {path.stem for path in FOLDER.iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield
        for name in [name for name in sys.modules if name.partition(".")[0] in scripts]:
            del sys.modules[name]
