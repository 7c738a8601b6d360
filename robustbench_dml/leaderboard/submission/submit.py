"""From what is submitted to what is written below `leaderboards/`: checked, evaluated again, shown, then written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from filelock import FileLock
from pydantic import ValidationError

from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.leaderboard.entries import RECORDS, RERUNS, Entry, Listed, Verification, read_all, write_entry
from robustbench_dml.leaderboard.submission.audit import SHORT, audit
from robustbench_dml.leaderboard.submission.claims import line_problem
from robustbench_dml.leaderboard.submission.consistency import together
from robustbench_dml.leaderboard.submission.intake import Candidate, take_in
from robustbench_dml.leaderboard.submission.preview import preview
from robustbench_dml.leaderboard.submission.recheck import QUERIES, recheck
from robustbench_dml.leaderboard.submission.told import told
from robustbench_dml.leaderboard.submission.transaction import Change, carry_out, end_of, ended, lock_of
from robustbench_dml.leaderboard.submission.trust import check_discoverable, trusted_defense, trusted_model
from robustbench_dml.leaderboard.submission.weights import claimed_model
from robustbench_dml.leaderboard.submission.withdraw import find_entry
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.queries import MAX_BYTES, load_values
from robustbench_dml.runs.record import QUERIES_FILE
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.utils.errors import RbdmlError, first_invalid
from robustbench_dml.utils.files import sha256
from robustbench_dml.utils.provenance import now

SHOWN = 4  # problems of one record in one line


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a submitter says and asks for.

    Attributes:
        by: who submits.
        paper: where the defense is described.
        checkpoint_url: where the weights can be had.
        declared_passes: what training a model from elsewhere cost, as its maker says.
        self_reported: enter it without a second evaluation.
        queries: how many are evaluated again.
        checkpoint: of the one record, where it is not beside it.
        defense: file.py:NAME, where the defense is not registered.
        model: file.py:factory, for a model from elsewhere.
        trust_code: run these files.
        replace: digests of entries that go to the history.
        why: the reason.
    """

    by: str = ""
    paper: str = ""
    checkpoint_url: str | None = None
    declared_passes: float | None = None
    self_reported: bool = False
    queries: int = QUERIES
    checkpoint: Path | None = None
    defense: str | None = None
    model: str | None = None
    trust_code: bool = False
    replace: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What becomes of one record.

    Attributes:
        candidate: as taken in.
        effect: a new entry; the same record with a second evaluation; the same spec by others.
        existing: the entry that the last two are about.
        entry: to be written.
    """

    candidate: Candidate
    effect: Literal["new", "verified", "rerun"]
    existing: Listed | None
    entry: Entry


@dataclass(frozen=True)
class Prepared:
    """A submission that was accepted.

    Attributes:
        report: what was found, and what would change on the boards.
        changes: to be carried out; they last as long as the block that made this.
        leaderboards: the folder of all data sets.
        before: the entries that the report speaks of.
    """

    report: str
    changes: tuple[Change, ...]
    leaderboards: Path
    before: tuple[Listed, ...]

    def write(self) -> None:
        """Write the entries, then everything that is generated of them.

        Raises:
            RbdmlError: no room or no permission, or the board has changed since it was looked at.
        """
        from robustbench_dml.leaderboard.build import build

        with FileLock(lock_of(self.leaderboards)):
            if tuple(read_all(self.leaderboards)) != self.before:
                raise RbdmlError(f"{self.leaderboards}: has changed since it was looked at: submit again")
            carry_out(self.changes, self.leaderboards)
        try:
            build(self.leaderboards)
        except RbdmlError as error:
            raise RbdmlError(
                f"the entries are written, and their tables and pages are not ({error}): mend that, then give "
                "`rbdml leaderboard build`"
            ) from None


@contextmanager
def prepared(given: Path, leaderboards: Path, place: RunContext, terms: Terms) -> Iterator[Prepared]:
    """Check a submission and evaluate it again; nothing is written before `Prepared.write`.

    Args:
        given: a record's folder or file, or a folder of several: all are taken or none.
        leaderboards: the folder of all data sets.
        place: device, batch size, data, surrogate and bars of the second evaluation.
        terms: of the submitter.

    Raises:
        RbdmlError: what is wrong with it, by the name of the record.
    """
    with TemporaryDirectory(prefix="rbdml-submission-") as private:
        entry = _plain_entry(terms)
        candidates = take_in(given, Path(private), terms.checkpoint)
        files = _defense_changes(terms, candidates, leaderboards)
        notes = _audited(candidates, place)
        before = read_all(leaderboards)
        gone = [find_entry(before, digest) for digest in terms.replace]
        left = [one for one in before if one not in gone]
        steps, known = _steps(candidates, left, entry, terms)
        _check_together(_after(steps, left), gone)
        steps = [_verified(step, place, terms) for step in steps]
        after = _after(steps, left)
        end = end_of("revised", terms.why) if gone else None
        moves = [change for one in gone if end for change in ended(one, leaderboards, end)]
        report = [*known, *notes, *map(told, steps), preview(before, after, leaderboards)]
        yield Prepared(
            "\n\n".join(report),
            (*files, *moves, *(_change(step, leaderboards) for step in steps)),
            leaderboards,
            tuple(before),
        )


def _plain_entry(terms: Terms) -> Entry:
    """The entry without a second evaluation.

    Raises:
        RbdmlError: a text that is no plain line, an address that is none, or settings that do not go together.
    """
    for option, text in {"--by": terms.by, "--paper": terms.paper}.items():
        problem = line_problem(text)
        if problem:
            raise RbdmlError(f"{option} {text[:60]!r} {problem}: give one plain line")
    if bool(terms.replace) != bool(terms.why):
        raise RbdmlError("--replace DIGEST needs --why TEXT, and --why goes with --replace alone: give both or neither")
    if terms.self_reported and terms.checkpoint is not None:
        raise RbdmlError("--self-reported enters a record without its checkpoint: leave one of the two out")
    try:
        return Entry(
            submitted=now(),
            by=terms.by,
            paper=terms.paper,
            checkpoint=terms.checkpoint_url,
            declared_passes=terms.declared_passes,
        )
    except ValidationError as error:
        found = first_invalid(error)
        options = {"checkpoint": "--checkpoint-url", "declared_passes": "--declared-passes"}
        raise RbdmlError(f"{options.get(found.name, found.name)} {found.value!r}: {found.message.lower()}") from None


def _defense_changes(terms: Terms, candidates: Sequence[Candidate], leaderboards: Path) -> list[Change]:
    """Register the defense that is submitted, and keep its file beside the others."""
    if terms.defense is None:
        return []
    records = [one.record for one in candidates]
    folder = leaderboards.resolve().parent / "defenses"
    if not (folder / "__init__.py").is_file():
        raise RbdmlError(f"{folder}: no such folder of defenses, where the file is to be kept: submit in a checkout")
    path = trusted_defense(terms.defense, records, trust=terms.trust_code)
    check_discoverable(path)
    target = folder / path.name
    if target.exists() and sha256(target) != sha256(path):
        raise RbdmlError(f"{target}: there already, with other content: rename your file, and run again")
    return [] if target.exists() else [Change(target, partial(shutil.copyfile, path))]


def _audited(candidates: Sequence[Candidate], place: RunContext) -> list[str]:
    """Notes on all candidates.

    Raises:
        RbdmlError: the problems of the first that has any.
    """
    notes = []
    for one in candidates:
        found = audit(one.record, one.folder, place.paths, submitting=True)
        if found.problems:
            more = f"; and {len(found.problems) - SHOWN} more problems" if len(found.problems) > SHOWN else ""
            raise RbdmlError(one.told(f"{one.source}: {'; '.join(found.problems[:SHOWN])}{more}"))
        notes += [f"{one.record.digest}: {note}" for note in found.notes]
    return notes


def _steps(
    candidates: Sequence[Candidate], entries: Sequence[Listed], entry: Entry, terms: Terms
) -> tuple[list[Step], list[str]]:
    """What becomes of each candidate; and those that are entered already, if there is anything else."""
    entered = {one.record.digest: one for one in entries}
    steps: dict[str, Step] = {}
    known = []
    for one in candidates:
        record, existing = one.record, entered.get(one.record.digest)
        if record.digest in steps:
            raise RbdmlError(f"{one.source}: {record.digest} is submitted twice: submit one of them, then the other")
        if terms.declared_passes is not None and isinstance(record.spec, RunSpec):
            raise RbdmlError(f"{one.source}: its cost was metered: leave --declared-passes out")
        effect = _effect(one, existing, again=not terms.self_reported)
        if effect == "known":
            known.append(f"{record.digest} ({record.spec.label}) is entered already: left out")
        else:
            merged = entry if existing is None or effect == "rerun" else _merged(existing.entry, entry)
            steps[record.digest] = Step(candidate=one, effect=effect, existing=existing, entry=merged)
    if not steps:
        digest = candidates[0].record.digest
        raise RbdmlError(f"{digest} is entered already, with these weights and values: there is nothing to do")
    return list(steps.values()), known


def _effect(one: Candidate, existing: Listed | None, *, again: bool) -> Literal["new", "verified", "rerun", "known"]:
    if existing is None:
        return "new"
    for other in (existing.record, *existing.reruns):
        if other.provenance.weights != one.record.provenance.weights:
            continue
        if other.values != one.record.values:
            raise RbdmlError(
                f"{one.source}: {other.digest} is entered with the same weights and other values: to revise it, give "
                f"--replace {other.digest} --why TEXT"
            )
        same = other is existing.record and other == one.record
        return "verified" if again and same and existing.entry.status == "self-reported" else "known"
    return "rerun"


def _merged(old: Entry, new: Entry) -> Entry:
    """An entry with what is said anew."""
    said = {name: value for name, value in new if name in ("by", "paper", "checkpoint", "declared_passes") and value}
    return old.model_copy(update=said)


def _check_together(after: Sequence[Listed], gone: Sequence[Listed]) -> None:
    problems = together(after)
    if problems:
        instead = f" (without {', '.join(one.record.digest for one in gone)})" if gone else ""
        raise RbdmlError(f"beside the other entries{instead}: {'; '.join(problems[:SHOWN])}")


def _after(steps: Sequence[Step], entries: Sequence[Listed]) -> list[Listed]:
    """All entries once these steps are taken; the folders of new ones are the copies."""
    after = {one.record.digest: one for one in entries}
    for step in steps:
        record, old = step.candidate.record, step.existing
        if old is None:
            after[record.digest] = Listed(record, step.entry, step.candidate.folder)
        elif step.effect == "rerun":
            after[record.digest] = replace(old, reruns=(*old.reruns, record))
        else:
            after[record.digest] = replace(old, entry=step.entry)
    return list(after.values())


def _verified(step: Step, place: RunContext, terms: Terms) -> Step:
    """The step with its second evaluation, unless none was asked for."""
    if terms.self_reported:
        return step
    try:
        found = _second_evaluation(step.candidate, place, terms)
    except RbdmlError as error:
        source = str(step.candidate.source)
        raise RbdmlError(str(error) if source in str(error) else f"{source}: {error}") from None
    return replace(step, entry=step.entry.model_copy(update={"verification": found}))


def _second_evaluation(one: Candidate, place: RunContext, terms: Terms) -> Verification:
    record, checkpoint = one.record, one.checkpoint
    if checkpoint is None:
        raise RbdmlError("no checkpoint beside the record: give --checkpoint FILE, or enter it with --self-reported")
    dataset = load_dataset(record.spec.dataset, place.paths)
    if dict(dataset.hashes) != record.provenance.dataset_files:
        raise RbdmlError(f"made from other files than those of '{dataset.name}' here: `rbdml data status` shows them")
    place.progress.say(f"{record.digest}: evaluating {record.spec.label} again")
    if isinstance(record.spec, RunSpec):
        model = claimed_model(record, checkpoint, place.device)
    elif terms.model is None:
        raise RbdmlError(f"of {record.spec.model}: give the file with --model path/to/{record.spec.model}")
    else:
        foreign = trusted_model(terms.model, record.spec, checkpoint, trust=terms.trust_code)
        model = foreign.on_sphere(dataset, place)
    values = load_values(
        one.folder / QUERIES_FILE, most=DATASETS.get(record.spec.dataset).test_images, largest=MAX_BYTES
    )
    return recheck(record, values, model, dataset, place, queries=terms.queries)


def _change(step: Step, leaderboards: Path) -> Change:
    """The folder of an entry, or of a rerun below it."""
    record = step.candidate.record
    entry = leaderboards / record.spec.dataset_folder / RECORDS / record.digest
    target = entry / RERUNS / record.provenance.weights[:SHORT] if step.effect == "rerun" else entry
    source = step.existing.folder if step.existing and step.effect == "verified" else step.candidate.folder

    def fill(folder: Path) -> None:
        shutil.copytree(source, folder)
        write_entry(folder, step.entry)

    return Change(target, fill)
