from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "set"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"
