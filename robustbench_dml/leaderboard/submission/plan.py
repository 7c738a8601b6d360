"""The terms of a submission, and the effect of each of its records on the leaderboards."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from robustbench_dml.leaderboard.entries import (
    RECORDS,
    RERUNS,
    SHORT,
    Entry,
    Listed,
    Verification,
    described,
    write_entry,
)
from robustbench_dml.leaderboard.submission.claims import line_problem
from robustbench_dml.leaderboard.submission.intake import Candidate
from robustbench_dml.leaderboard.submission.recheck import QUERIES
from robustbench_dml.leaderboard.submission.transaction import Change
from robustbench_dml.report.comparison import compare, comparison_text
from robustbench_dml.utils.errors import RbdmlError, first_invalid
from robustbench_dml.utils.provenance import now

Effect = Literal["new", "verified", "rerun"]
EFFECTS = {"new": "a new entry", "verified": "an entry that is verified now", "rerun": "an entry that was run again"}
ROUNDING = 1e-4  # rounding of a mean, in the units of the papers


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Statements and requests of a submitter."""

    by: str = ""  # name of the submitter
    paper: str = ""  # description of the defense
    checkpoint_url: str | None = None  # public address of the weights
    declared_passes: float | None = None  # training cost of an external model
    self_reported: bool = False  # skip the second evaluation
    queries: int = QUERIES  # number of queries to evaluate again
    checkpoint: Path | None = None  # checkpoint of a single record, unless it lies beside the record
    defense: str | None = None  # file.py:NAME of a defense that is not registered
    model: str | None = None  # file.py:factory of an external model
    trust_code: bool = False  # run these files
    replace: tuple[str, ...] = ()  # digests of entries that move to the history
    why: str = ""  # reason for the replacement

    def entry(self) -> Entry:
        """Make the entry, without a second evaluation.

        Raises:
            RbdmlError: a text is not a plain line, an address is invalid, or options contradict each other.
        """
        for option, text in {"--by": self.by, "--paper": self.paper}.items():
            problem = line_problem(text)
            if problem:
                raise RbdmlError(f"{option} {text[:60]!r} {problem}: give one plain line")
        if bool(self.replace) != bool(self.why):
            raise RbdmlError(
                "--replace DIGEST needs --why TEXT, and --why goes with --replace alone: give both or neither"
            )
        if self.self_reported and self.checkpoint is not None:
            raise RbdmlError("--self-reported enters a record without its checkpoint: leave one of the two out")
        try:
            return Entry(
                submitted=now(),
                by=self.by,
                paper=self.paper,
                checkpoint=self.checkpoint_url,
                declared_passes=self.declared_passes,
            )
        except ValidationError as error:
            invalid = first_invalid(error)
            options = {"checkpoint": "--checkpoint-url", "declared_passes": "--declared-passes"}
            option = options.get(invalid.name, invalid.name)
            raise RbdmlError(f"{option} {invalid.value!r}: {invalid.message.lower()}") from None


@dataclass(frozen=True, kw_only=True)
class Step:
    """The effect of one record."""

    candidate: Candidate
    effect: Effect  # see `EFFECTS`
    existing: Listed | None  # the entry to verify, or the entry that was run again
    entry: Entry  # the entry to write

    def change(self, leaderboards: Path) -> Change:
        """Write the folder of the entry, or of a rerun inside it."""
        record = self.candidate.record
        target = leaderboards / record.spec.dataset_folder / RECORDS / record.digest
        if self.effect == "rerun":
            target = target / RERUNS / record.provenance.weights[:SHORT]
        source = self.existing.folder if self.existing and self.effect == "verified" else self.candidate.folder

        def fill(folder: Path) -> None:
            shutil.copytree(source, folder)
            write_entry(folder, self.entry)

        return Change(target, fill)

    @property
    def report(self) -> str:
        """Describe the checks of the record, and compare it with the entry that it repeats."""
        record, verification = self.candidate.record, self.entry.verification
        lines = [f"{described(record)}: {EFFECTS[self.effect]}, {self.entry.status}"]
        lines += [] if verification is None else _verification_lines(verification, record.flags)
        if self.effect == "rerun" and self.existing is not None:
            comparison = comparison_text(compare(self.existing.folder, self.candidate.folder))
            lines.append(f"A is the entry, B this run:\n{comparison}")
        return "\n".join(lines)


def plan(
    candidates: Sequence[Candidate], entries: Sequence[Listed], entry: Entry, terms: Terms
) -> tuple[list[Step], list[str]]:
    """Decide the effect of each candidate.

    Returns:
        The steps, and a line for each candidate that the boards already have.

    Raises:
        RbdmlError: a spec is submitted twice, a metered cost is declared again, an entry has the same weights and
            other values, or the boards already have all candidates.
    """
    entered = {listed.record.digest: listed for listed in entries}
    steps: dict[str, Step] = {}
    known = []
    for candidate in candidates:
        record, existing = candidate.record, entered.get(candidate.record.digest)
        if record.digest in steps:
            raise RbdmlError(
                f"{candidate.source}: {record.digest} is submitted twice: submit one of them, then the other"
            )
        if terms.declared_passes is not None and record.spec.trained_here:
            raise RbdmlError(f"{candidate.source}: its cost was metered: leave --declared-passes out")
        effect = _effect(candidate, existing, verify=not terms.self_reported)
        if effect is None:
            known.append(f"{record.digest} ({record.spec.label}) is entered already: left out")
        else:
            merged = entry if existing is None or effect == "rerun" else _merged(existing.entry, entry)
            steps[record.digest] = Step(candidate=candidate, effect=effect, existing=existing, entry=merged)
    if not steps:
        digest = candidates[0].record.digest
        raise RbdmlError(f"{digest} is entered already, with these weights and values: there is nothing to do")
    return list(steps.values()), known


def entries_after(steps: Sequence[Step], entries: Sequence[Listed]) -> list[Listed]:
    """Return all entries after these steps; new entries lie in the folders of the candidates."""
    after = {listed.record.digest: listed for listed in entries}
    for step in steps:
        record, old = step.candidate.record, step.existing
        if old is None:
            after[record.digest] = Listed(record, step.entry, step.candidate.folder)
        elif step.effect == "rerun":
            after[record.digest] = replace(old, reruns=(*old.reruns, record))
        else:
            after[record.digest] = replace(old, entry=step.entry)
    return list(after.values())


def _effect(candidate: Candidate, existing: Listed | None, *, verify: bool) -> Effect | None:
    """Return the effect of a candidate; None if the boards already have its record."""
    if existing is None:
        return "new"
    record = candidate.record
    for other in (existing.record, *existing.reruns):
        if other.provenance.weights != record.provenance.weights:
            continue
        if other.values != record.values:
            raise RbdmlError(
                f"{candidate.source}: {other.digest} is entered with the same weights and other values: to revise it, "
                f"give --replace {other.digest} --why TEXT"
            )
        unverified = other is existing.record and other == record and existing.entry.status == "self-reported"
        return "verified" if verify and unverified else None
    return "rerun"


def _merged(old: Entry, new: Entry) -> Entry:
    """Update an entry with the statements that are given again."""
    given = {name: value for name, value in new if name in ("by", "paper", "checkpoint", "declared_passes") and value}
    return old.model_copy(update=given)


def _verification_lines(verification: Verification, flags: Sequence[str]) -> list[str]:
    differences = verification.differences
    name = max(differences, key=lambda name: abs(differences[name]))
    result = "all values are the same"
    if verification.unequal > 0 or abs(differences[name]) > ROUNDING:
        result = (
            f"{100 * verification.unequal:.2g}% of the attacked values differ by more than rounding; the greatest "
            f"difference of a mean is {differences[name]:+.2g} ({name})"
        )
    new = [flag for flag in verification.flags if flag not in flags]
    return [
        f"{verification.queries} queries evaluated again on {verification.device}: {result}",
        *([f"flags that the second evaluation raised: {', '.join(new)}"] if new else []),
    ]
