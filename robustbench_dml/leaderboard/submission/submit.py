"""Submit records: check them, evaluate them again, show the changes, then write them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock

from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.leaderboard.entries import Listed, Verification, read_all
from robustbench_dml.leaderboard.submission.audit import audit, claimed_values
from robustbench_dml.leaderboard.submission.consistency import consistency_problems
from robustbench_dml.leaderboard.submission.intake import Candidate, take_in
from robustbench_dml.leaderboard.submission.plan import Step, Terms, entries_after, plan
from robustbench_dml.leaderboard.submission.preview import preview
from robustbench_dml.leaderboard.submission.reading import to_read
from robustbench_dml.leaderboard.submission.recheck import recheck
from robustbench_dml.leaderboard.submission.transaction import Change, apply, history_note, lock_file, move_to_history
from robustbench_dml.leaderboard.submission.trust import (
    built_model,
    check_discoverable,
    claimed_model,
    plain_file,
    trusted_defense,
    trusted_model,
)
from robustbench_dml.leaderboard.submission.withdraw import find_entry
from robustbench_dml.leaderboard.submission.zoo import index_changes, with_addresses
from robustbench_dml.models.robrank import PREFIX
from robustbench_dml.models.zoo import ZooModel
from robustbench_dml.runs.context import RunContext
from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import sha256

SHOWN = 4  # problems of a record in one message


@dataclass(frozen=True)
class Prepared:
    """An accepted submission."""

    report: str  # results of the checks, and the changes of the boards
    changes: tuple[Change, ...]  # valid inside the block of `prepared`
    leaderboards: Path
    before: tuple[Listed, ...]  # all entries before the changes

    def write(self) -> None:
        """Write the entries, then all tables, figures and pages.

        Raises:
            RbdmlError: no space, no permission, or the board changed after the report.
        """
        from robustbench_dml.leaderboard.build import build

        with FileLock(lock_file(self.leaderboards)):
            if tuple(read_all(self.leaderboards)) != self.before:
                raise RbdmlError(f"{self.leaderboards}: has changed since the report: submit again")
            apply(self.changes, self.leaderboards)
        try:
            build(self.leaderboards)
        except RbdmlError as error:
            raise RbdmlError(
                f"the entries are written, and their tables and pages are not ({error}): fix that, then run "
                "`rbdml leaderboard build`"
            ) from None


@contextmanager
def prepared(given: Path, leaderboards: Path, context: RunContext, terms: Terms) -> Iterator[Prepared]:
    """Check a submission and evaluate it again; only `Prepared.write` writes.

    Args:
        given: a record's folder or file, or a folder of several records, accepted together or not at all.
        context: device, batch size, data and surrogate of the second evaluation.

    Raises:
        RbdmlError: all problems of the first record that has any.
    """
    with TemporaryDirectory(prefix="rbdml-submission-") as private:
        entry = terms.entry()
        candidates = take_in(given, Path(private), terms.checkpoint)
        code = _to_read(terms, context)
        files = _defense_changes(terms, candidates, leaderboards)
        notes = _audit_all(candidates, context)
        before = read_all(leaderboards)
        replaced = [find_entry(before, digest) for digest in terms.replace]
        kept = [listed for listed in before if listed not in replaced]
        steps, known = plan(candidates, kept, entry, terms)
        _check_consistency(entries_after(steps, kept), replaced)
        verified = [_verified(step, context, terms) for step in steps]
        steps, models = with_addresses(verified, terms.checkpoint_url, leaderboards)
        zoo = index_changes(leaderboards, models, [listed.record.digest for listed in replaced])
        note = history_note("revised", terms.why) if replaced else None
        moves = [change for listed in replaced if note for change in move_to_history(listed, leaderboards, note)]
        changes = preview(before, entries_after(steps, kept), leaderboards)
        yield Prepared(
            "\n\n".join([*known, *notes, *code, *(step.report for step in steps), *_offered(models), changes]),
            (*files, *moves, *(step.change(leaderboards) for step in steps), *zoo),
            leaderboards,
            tuple(before),
        )


def _offered(models: Sequence[ZooModel]) -> list[str]:
    return [f"in the zoo as {model.name}, from {model.url}" for model in models]


def _to_read(terms: Terms, context: RunContext) -> list[str]:
    """List and print the places of the submitted files that a reader should look at, before any of them runs."""
    given = {"--defense": terms.defense, "--model": terms.model}
    files = [plain_file(text, option)[0] for option, text in given.items() if text and not text.startswith(PREFIX)]
    places = [(path.name, to_read(path)) for path in files]
    lists = [[f"{name}: {len(lines)} places that a reader should look at", *lines] for name, lines in places]
    for line in [line for lines in lists for line in lines]:
        context.progress.say(line)
    return ["\n  ".join(lines) for lines in lists]


def _defense_changes(terms: Terms, candidates: Sequence[Candidate], leaderboards: Path) -> list[Change]:
    """Register the submitted defense, and plan to copy its file beside the others."""
    if terms.defense is None:
        return []
    folder = leaderboards.resolve().parent / "defenses"
    if not (folder / "__init__.py").is_file():
        raise RbdmlError(f"{folder}: no such folder of defenses, where the file is to be kept: submit in a checkout")
    records = [candidate.record for candidate in candidates]
    path = trusted_defense(terms.defense, records, trust=terms.trust_code)
    check_discoverable(path)
    target = folder / path.name
    if target.exists() and sha256(target) != sha256(path):
        raise RbdmlError(f"{target}: there already, with other content: rename your file, and run again")
    return [] if target.exists() else [Change(target, partial(shutil.copyfile, path))]


def _audit_all(candidates: Sequence[Candidate], context: RunContext) -> list[str]:
    """Return the notes on all candidates.

    Raises:
        RbdmlError: the problems of the first candidate that has any.
    """
    notes = []
    for candidate in candidates:
        result = audit(candidate.record, candidate.folder, context.paths, submitting=True)
        if result.problems:
            more = f"; and {len(result.problems) - SHOWN} more problems" if len(result.problems) > SHOWN else ""
            message = f"{candidate.source}: {'; '.join(result.problems[:SHOWN])}{more}"
            raise RbdmlError(candidate.with_source(message))
        notes += [f"{candidate.record.digest}: {note}" for note in result.notes]
    return notes


def _check_consistency(after: Sequence[Listed], replaced: Sequence[Listed]) -> None:
    problems = consistency_problems(after)
    if problems:
        without = f" (without {', '.join(listed.record.digest for listed in replaced)})" if replaced else ""
        raise RbdmlError(f"beside the other entries{without}: {'; '.join(problems[:SHOWN])}")


def _verified(step: Step, context: RunContext, terms: Terms) -> Step:
    """Add a second evaluation, unless the record is self-reported."""
    if terms.self_reported:
        return step
    try:
        verification = _second_evaluation(step.candidate, context, terms)
    except RbdmlError as error:
        source = str(step.candidate.source)
        raise RbdmlError(str(error) if source in str(error) else f"{source}: {error}") from None
    return replace(step, entry=step.entry.model_copy(update={"verification": verification}))


def _second_evaluation(candidate: Candidate, context: RunContext, terms: Terms) -> Verification:
    record, checkpoint = candidate.record, candidate.checkpoint
    built = isinstance(record.spec, RunSpec) and not DEFENSES.get(record.spec.defense).cls.trains
    if checkpoint is None and not built:
        raise RbdmlError("no checkpoint beside the record: give --checkpoint FILE, or enter it with --self-reported")
    dataset = load_dataset(record.spec.dataset, context.paths)
    if dict(dataset.hashes) != record.provenance.dataset_files:
        raise RbdmlError(f"made from other files than those of '{dataset.name}' here: `rbdml data status` shows them")
    context.progress.say(f"{record.digest}: evaluating {record.spec.label} again")
    if checkpoint is None:
        model = built_model(record, context)
    elif isinstance(record.spec, RunSpec):
        model = claimed_model(record, checkpoint, context.device)
    elif terms.model is None:
        raise RbdmlError(f"of {record.spec.model}: give the file with --model path/to/{record.spec.model}")
    else:
        external = trusted_model(terms.model, record.spec, checkpoint, trust=terms.trust_code)
        model = external.on_sphere(dataset, context)
    values = claimed_values(record, candidate.folder)
    return recheck(record, values, model, dataset, context, queries=terms.queries)
