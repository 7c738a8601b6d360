"""Entries that are taken back."""

from __future__ import annotations

from pathlib import Path

import pytest
from board_support import enter_made, made_spec
from submission_support import snapshot

from robustbench_dml.leaderboard.entries import read_all, read_listed
from robustbench_dml.leaderboard.submission.withdraw import withdraw
from robustbench_dml.utils.errors import RbdmlError


@pytest.fixture
def leaderboards(tmp_path: Path) -> Path:
    for seed in range(3):
        enter_made(tmp_path / "leaderboards", made_spec("act", seed=seed))
    enter_made(tmp_path / "leaderboards", made_spec("regular"))
    return tmp_path / "leaderboards"


def digest(defense: str, seed: int = 0) -> str:
    return made_spec(defense, seed=seed).digest


def test_it_goes_to_the_history_and_the_others_stay(leaderboards: Path) -> None:
    before = read_all(leaderboards)
    place = withdraw(leaderboards, digest("regular"), "a mistake in its data")
    listed = read_listed(place)
    assert place.parent == leaderboards / "glyphs-mini" / "history"
    assert listed.entry.ended is not None
    assert (listed.entry.ended.how, listed.entry.ended.why) == ("withdrawn", "a mistake in its data")
    assert [one for one in before if one.record.digest != digest("regular")] == read_all(leaderboards)
    assert not list(leaderboards.glob(".*"))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_seed_below_others_stays_until_they_go(leaderboards: Path, seed: int) -> None:
    before = snapshot(leaderboards)
    later = ", ".join(digest("act", other) for other in range(2, seed, -1))
    with pytest.raises(RbdmlError, match=f"withdraw those first, the last before the others: {later}$"):
        withdraw(leaderboards, digest("act", seed), "why not")
    assert snapshot(leaderboards) == before


def test_all_seeds_from_the_last_on(leaderboards: Path) -> None:
    for seed in (2, 1, 0):
        withdraw(leaderboards, digest("act", seed), "all of it")
    assert [one.record.spec.label for one in read_all(leaderboards)] == ["regular"]


@pytest.mark.parametrize(
    ("digest", "why", "message"),
    [("0" * 16, "x", "no entry '0000000000000000'"), (digest("regular"), "", "is empty")],
)
def test_what_is_refused_changes_nothing(leaderboards: Path, digest: str, why: str, message: str) -> None:
    before = snapshot(leaderboards)
    with pytest.raises(RbdmlError, match=message):
        withdraw(leaderboards, digest, why)
    assert snapshot(leaderboards) == before
