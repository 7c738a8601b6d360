"""Taking an entry off its board, into the history."""

from __future__ import annotations

from pathlib import Path

from robustbench_dml.leaderboard.entries import Listed, read_all
from robustbench_dml.leaderboard.submission.consistency import missing_seeds
from robustbench_dml.leaderboard.submission.transaction import carry_out, end_of, ended
from robustbench_dml.report.rows import configuration
from robustbench_dml.utils.errors import RbdmlError, did_you_mean


def withdraw(leaderboards: Path, digest: str, why: str) -> Path:
    """Move an entry to the history of its data set; what is generated is to be built anew.

    Args:
        leaderboards: the folder of all data sets.
        digest: of the record.
        why: a line for the history.

    Returns:
        The folder in the history.

    Raises:
        RbdmlError: no such entry, no reason, a seed without which later ones would be picked ones, or no room to
            write; nothing was changed.
    """
    entries = read_all(leaderboards)
    listed = find_entry(entries, digest)
    changes = ended(listed, leaderboards, end_of("withdrawn", why))
    spec = listed.record.spec
    left = [
        one.record for one in entries if one is not listed and configuration(one.record.spec) == configuration(spec)
    ]
    if missing_seeds(left):
        later = sorted((one.spec.seed or 0, one.digest) for one in left if (one.spec.seed or 0) > (spec.seed or 0))
        raise RbdmlError(
            f"{digest} is seed {spec.seed} of several, and without it the later ones would be picked ones: withdraw "
            f"those first, the last before the others: {', '.join(name for _, name in reversed(later))}"
        )
    carry_out(changes, leaderboards)
    return changes[0].target


def find_entry(entries: list[Listed], digest: str) -> Listed:
    """The entry of this digest.

    Raises:
        RbdmlError: there is none.
    """
    found = {one.record.digest: one for one in entries}
    if digest not in found:
        hint = did_you_mean(digest, found)
        raise RbdmlError(f"no entry '{digest[:60]}': {hint}give the digest of a record on a board")
    return found[digest]
