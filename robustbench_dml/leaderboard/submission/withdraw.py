"""Withdraw an entry: move it from its board to the history."""

from __future__ import annotations

from pathlib import Path

from robustbench_dml.leaderboard.entries import Listed, read_all
from robustbench_dml.leaderboard.submission.consistency import missing_seeds
from robustbench_dml.leaderboard.submission.transaction import apply, history_note, move_to_history
from robustbench_dml.leaderboard.submission.zoo import index_changes
from robustbench_dml.utils.errors import RbdmlError, did_you_mean


def withdraw(leaderboards: Path, digest: str, why: str) -> Path:
    """Move an entry to the history of its data set. Tables and figures need `build` afterwards.

    Returns:
        The folder in the history.

    Raises:
        RbdmlError: no such entry, no reason, a seed other than the last of its configuration, or no space to write.
            Nothing was changed.
    """
    entries = read_all(leaderboards)
    listed = find_entry(entries, digest)
    changes = move_to_history(listed, leaderboards, history_note("withdrawn", why))
    spec = listed.record.spec
    others = [
        one.record for one in entries if one is not listed and one.record.spec.configuration == spec.configuration
    ]
    if missing_seeds(others):
        later = sorted((one.spec.seed or 0, one.digest) for one in others if (one.spec.seed or 0) > (spec.seed or 0))
        raise RbdmlError(
            f"{digest} is seed {spec.seed} of several, and without it the later ones would be picked ones: withdraw "
            f"those first, the last before the others: {', '.join(name for _, name in reversed(later))}"
        )
    apply([*changes, *index_changes(leaderboards, ended=[digest])], leaderboards)
    return changes[0].target


def find_entry(entries: list[Listed], digest: str) -> Listed:
    """Return the entry of this digest.

    Raises:
        RbdmlError: there is none.
    """
    known = {one.record.digest: one for one in entries}
    if digest not in known:
        hint = did_you_mean(digest, known)
        raise RbdmlError(f"no entry '{digest[:60]}': {hint}give the digest of a record on a board")
    return known[digest]
