"""What became of a record that is submitted, in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustbench_dml.leaderboard.entries import Verification
from robustbench_dml.report.comparison import compare, comparison_text

if TYPE_CHECKING:
    from robustbench_dml.leaderboard.submission.submit import Step

ROUNDING = 1e-4  # of a mean in the units of the papers


def told(step: Step) -> str:
    """How a record was checked, and how it compares with the entry that it runs again."""
    record, found = step.candidate.record, step.entry.verification
    seed = "" if record.spec.seed is None else f", seed {record.spec.seed}"
    what = {"new": "a new entry", "verified": "an entry that is verified now", "rerun": "an entry that was run again"}
    lines = [f"{record.digest} ({record.spec.label}{seed}): {what[step.effect]}, {step.entry.status}"]
    lines += [] if found is None else _evaluated(found, set(record.flags))
    if step.effect == "rerun" and step.existing is not None:
        lines.append(
            f"A is the entry, B this run:\n{comparison_text(compare(step.existing.folder, step.candidate.folder))}"
        )
    return "\n".join(lines)


def _evaluated(found: Verification, own: set[str]) -> list[str]:
    name = max(found.differences, key=lambda name: abs(found.differences[name]))
    how = "all values are the same"
    if found.unequal > 0 or abs(found.differences[name]) > ROUNDING:
        how = (
            f"{100 * found.unequal:.2g}% of the attacked values differ by more than rounding; the greatest difference "
            f"of a mean is {found.differences[name]:+.2g} ({name})"
        )
    lines = [f"{found.queries} queries evaluated again on {found.device}: {how}"]
    new = [flag for flag in found.flags if flag not in own]
    return [*lines, *([f"flags that the second evaluation raised: {', '.join(new)}"] if new else [])]
