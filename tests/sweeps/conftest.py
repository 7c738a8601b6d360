"""The command line up to the run."""

from __future__ import annotations

from typing import Any

import pytest

from robustbench_dml import runs
from robustbench_dml.errors import RbdmlError
from robustbench_dml.protocol import RunSpec
from robustbench_dml.recording import Place


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RunSpec, Place]]:
    """What `rbdml run` would do, instead of doing it."""
    caught: list[tuple[RunSpec, Place]] = []

    def catch(spec: RunSpec, place: Place, **_: Any) -> None:
        caught.append((spec, place))
        raise RbdmlError("reached")

    monkeypatch.setattr(runs, "run", catch)
    return caught
