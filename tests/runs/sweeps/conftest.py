"""The command line up to the run."""

from __future__ import annotations

from typing import Any

import pytest

from robustbench_dml.runs import run as runs
from robustbench_dml.runs.context import RunContext
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.utils.errors import RbdmlError


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RunSpec, RunContext]]:
    """What `rbdml run` would do, instead of doing it."""
    caught: list[tuple[RunSpec, RunContext]] = []

    def catch(spec: RunSpec, place: RunContext, **_: Any) -> None:
        caught.append((spec, place))
        raise RbdmlError("reached")

    monkeypatch.setattr(runs, "run", catch)
    return caught
