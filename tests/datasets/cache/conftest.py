from __future__ import annotations

from pathlib import Path

import pytest
from cache_support import (
    NAMES,
    Decoding,
)
from image_trees import write_list

from robustbench_dml.datasets import cache as module
from robustbench_dml.datasets.images import ImageList


@pytest.fixture
def images(tmp_path: Path) -> ImageList:
    return write_list(tmp_path / "set", NAMES)


@pytest.fixture
def decoding(monkeypatch: pytest.MonkeyPatch) -> Decoding:
    made = Decoding()
    monkeypatch.setattr(module, "decode", made)
    monkeypatch.setattr(module, "CHUNK", 2)
    return made
