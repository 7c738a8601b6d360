"""What entries of boards are made of."""

from __future__ import annotations

import pytest

from robustbench_dml.leaderboard.entries import Verification


@pytest.fixture
def verification() -> Verification:
    """A second evaluation that agreed, and raised a flag that disqualifies."""
    return Verification(
        created="2026-02-03T04:05:06+00:00",
        queries=128,
        differences={"ES:R": 0.0},
        unequal=0.0,
        flags=["loss not level", "no gradient"],
        disqualifying=["no gradient"],
        versions={"torch": "2.10.0"},
        device="a processor (cpu)",
        commit=None,
        dirty=None,
    )
