"""Everything that can be checked of a record without its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from robustbench_dml.datasets.base import DataPaths, Dataset
from robustbench_dml.leaderboard.entries import ENTRY_FILE, RERUNS, Listed
from robustbench_dml.leaderboard.submission.claims import (
    cost_problems,
    flag_problems,
    plain_problems,
    spec_problems,
    text_problems,
)
from robustbench_dml.leaderboard.submission.recompute import value_problems
from robustbench_dml.runs.queries import MAX_BYTES, load_values
from robustbench_dml.runs.record import QUERIES_FILE, RECORD_FILE, Record
from robustbench_dml.spec.registry import BACKBONES, DATASETS, DEFENSES
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.spec.source import defense_source
from robustbench_dml.utils.errors import MissingDataError, RbdmlError
from robustbench_dml.utils.files import sha256

SHORT = 16  # digits of the weights' hash in names of folders
WHOLE = ("in memory", "kept", "checked")  # states of a data set that takes no decoding to load


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        problems: each with its cause and remedy; with any of them a record is not to be believed.
        notes: worth saying, and no reason to refuse it.
    """

    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: Audit) -> Audit:
        return Audit(self.problems + other.problems, self.notes + other.notes)


def audit(record: Record, folder: Path, paths: DataPaths, *, submitting: bool = False) -> Audit:
    """Check a record by itself.

    Args:
        record: as `read_record` read it.
        folder: with its per-query values.
        paths: where data may lie; a data set that is not there and decoded is not compared with.
        submitting: whether the source of its defense must be the one that is registered; later it may have changed.
    """
    claims = [*text_problems(record), *spec_problems(record)]
    if claims:  # nothing below makes sense with names that nobody knows
        return Audit(tuple(claims))
    dataset, notes = _at_hand(record.spec.dataset, paths)
    other = _data_problems(record, dataset)
    problems = [*cost_problems(record), *flag_problems(record), *other]
    changed = _source_problem(record)
    (problems if submitting else notes).extend(changed)
    try:
        values = load_values(
            folder / QUERIES_FILE, most=DATASETS.get(record.spec.dataset).test_images, largest=MAX_BYTES
        )
    except RbdmlError as error:
        return Audit((*problems, str(error)), tuple(notes))
    if sha256(folder / QUERIES_FILE) != record.provenance.queries:
        problems.append(f"{QUERIES_FILE} is not the file that the record was made with: one of them was altered")
    if "query" not in values:
        problems.append(f"{QUERIES_FILE} does not say which queries its values are of: evaluate again")
    else:
        problems += value_problems(record, values, None if other else dataset)
    return Audit(tuple(problems), tuple(notes))


def audit_entry(listed: Listed, paths: DataPaths) -> Audit:
    """Check an entry where it lies: its place, its texts, its record and those of its reruns."""
    record, folder = listed.record, listed.folder
    place = [f"lies in {folder}, where it does not belong: submit it again"] if _misplaced(record, folder) else []
    known = {RECORD_FILE, QUERIES_FILE, ENTRY_FILE, RERUNS}
    place += [
        f"{path.name} does not belong to an entry: remove it" for path in folder.iterdir() if path.name not in known
    ]
    entry = listed.entry
    place += plain_problems(entry.model_copy(update={"checkpoint": None}))  # an address has a pattern of its own
    found_again = entry.verification
    if found_again is not None and not set(found_again.disqualifying) <= set(found_again.flags):
        place.append("verification: disqualifying flags that are not among its flags: submit it again")
    if entry.ended is not None:
        place.append("it has ended and is on the board: its place is in the history")
    if entry.declared_passes is not None and isinstance(record.spec, RunSpec):
        place.append("declares a cost that was metered: submit it again")
    found = Audit(tuple(place)) + audit(record, folder, paths)
    for rerun in listed.reruns:
        inner = folder / RERUNS / rerun.provenance.weights[:SHORT]
        if rerun.digest != record.digest or not inner.is_dir():
            found += Audit((f"{RERUNS}: holds a record that is none of this spec, or misplaced: remove it",))
        else:
            found += audit(rerun, inner, paths)
    return Audit(*(tuple(f"{record.digest}: {line}" for line in lines) for lines in (found.problems, found.notes)))


def _misplaced(record: Record, folder: Path) -> bool:
    return folder.name != record.digest or folder.parent.parent.name != record.spec.dataset_folder


@lru_cache(maxsize=8)
def _loaded(name: str, paths: DataPaths) -> Dataset:
    """A data set that is here and decoded.

    Raises:
        MissingDataError: it is not.
    """
    info = DATASETS.get(name)
    found = info.status(paths)
    if found.decoded not in WHOLE:
        raise MissingDataError(f"'{name}' is here and not decoded")
    return info.load(replace(paths, cache=found.decoded == "kept"))


def _at_hand(name: str, paths: DataPaths) -> tuple[Dataset | None, list[str]]:
    """The data set, or why it is not compared with."""
    try:
        return _loaded(name, paths), []
    except MissingDataError:
        return None, [f"'{name}' is not at hand: its files and chance are not compared"]
    except RbdmlError as error:
        return None, [f"'{name}' cannot be compared with: {error}"]


def _data_problems(record: Record, dataset: Dataset | None) -> list[str]:
    """A record of other files than these, or of a network that cannot take their images."""
    if dataset is None:
        return []
    spec, problems = record.spec, []
    if dict(dataset.hashes) != record.provenance.dataset_files:
        problems.append(f"made from other files than those of '{spec.dataset}' here: `rbdml data status` shows them")
    if isinstance(spec, RunSpec) and not BACKBONES.get(spec.backbone).takes(dataset.image_shape):
        problems.append(f"backbone '{spec.backbone}' does not take the images of '{spec.dataset}': run again")
    return problems


def _source_problem(record: Record) -> list[str]:
    """Whether the defense is another one than that of the record."""
    spec, claimed = record.spec, record.provenance.defense_source
    if not isinstance(spec, RunSpec) or defense_source(DEFENSES.get(spec.defense)) == claimed:
        return []
    return [
        f"the source of '{spec.defense}' is not the one that the record was made with ({claimed[:SHORT]}): run again "
        "with what is here, or submit that source too"
    ]
