"""All checks of a record that need no checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from robustbench_dml.datasets.base import DataPaths, Dataset
from robustbench_dml.leaderboard.entries import ENTRY_FILE, RERUNS, SHORT, Listed
from robustbench_dml.leaderboard.submission.claims import (
    cost_problems,
    flag_problems,
    plain_problems,
    spec_problems,
    text_problems,
)
from robustbench_dml.leaderboard.submission.recompute import value_problems
from robustbench_dml.models.checkpoints import weights_hash
from robustbench_dml.models.embedder import build_embedder
from robustbench_dml.runs.queries import MAX_BYTES, Values, load_values
from robustbench_dml.runs.record import QUERIES_FILE, RECORD_FILE, Record
from robustbench_dml.spec.registry import BACKBONES, DATASETS, DEFENSES
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.spec.source import defense_source
from robustbench_dml.utils.errors import MissingDataError, RbdmlError
from robustbench_dml.utils.files import sha256

DECODED = ("in memory", "kept", "checked")  # states of a data set that loads without decoding


@dataclass(frozen=True)
class Audit:
    """Results of a check."""

    problems: tuple[str, ...] = ()  # reasons to refuse a record, each with its cause and remedy
    notes: tuple[str, ...] = ()  # no reason to refuse it

    def __add__(self, other: Audit) -> Audit:
        return Audit(self.problems + other.problems, self.notes + other.notes)


def audit(record: Record, folder: Path, paths: DataPaths, *, submitting: bool = False) -> Audit:
    """Check a record by itself.

    Args:
        folder: the folder with the record's per-query values.
        paths: the folders of the data; missing or undecoded data sets are not compared.
        submitting: require the registered source of the defense; on a board, the source may have changed since.
    """
    claims = [*text_problems(record), *spec_problems(record)]
    if claims:  # the checks below need known names
        return Audit(tuple(claims))
    dataset, notes = _loaded_or_note(record.spec.dataset, paths)
    data_problems = _data_problems(record, dataset)
    problems = [*cost_problems(record), *flag_problems(record), *data_problems, *_built_problems(record)]
    (problems if submitting else notes).extend(_source_problems(record))
    try:
        values = claimed_values(record, folder)
    except RbdmlError as error:
        return Audit((*problems, str(error)), tuple(notes))
    if sha256(folder / QUERIES_FILE) != record.provenance.queries:
        problems.append(f"{QUERIES_FILE} is not the file that the record was made with: one of them was altered")
    if "query" not in values:
        problems.append(f"{QUERIES_FILE} does not say which queries its values are of: evaluate again")
    else:
        problems += value_problems(record, values, None if data_problems else dataset)
    return Audit(tuple(problems), tuple(notes))


def audit_entry(listed: Listed, paths: DataPaths) -> Audit:
    """Check an entry on a board: its folder, its texts, its record and its reruns."""
    record, folder, entry = listed.record, listed.folder, listed.entry
    problems = []
    if folder.name != record.digest or folder.parent.parent.name != record.spec.dataset_folder:
        problems.append(f"lies in {folder}, where it does not belong: submit it again")
    known = {RECORD_FILE, QUERIES_FILE, ENTRY_FILE, RERUNS}
    problems += [
        f"{path.name} does not belong to an entry: remove it" for path in folder.iterdir() if path.name not in known
    ]
    problems += plain_problems(entry.model_copy(update={"checkpoint": None}))  # an address has its own pattern
    if entry.verification and not set(entry.verification.disqualifying) <= set(entry.verification.flags):
        problems.append("verification: disqualifying flags that are not among its flags: submit it again")
    if entry.ended is not None:
        problems.append("it has ended and is on the board: move it to the history")
    if entry.declared_passes is not None and record.spec.trained_here:
        problems.append("declares a cost that was metered: submit it again")
    result = Audit(tuple(problems)) + audit(record, folder, paths)
    for rerun in listed.reruns:
        inner = folder / RERUNS / rerun.provenance.weights[:SHORT]
        if rerun.digest != record.digest or not inner.is_dir():
            result += Audit((f"{RERUNS}: holds a record that is none of this spec, or misplaced: remove it",))
        else:
            result += audit(rerun, inner, paths)
    return Audit(*(tuple(f"{record.digest}: {line}" for line in lines) for lines in (result.problems, result.notes)))


def _built_problems(record: Record) -> list[str]:
    """Build the random weights of a defense that trains nothing, and compare them."""
    spec = record.spec
    if not isinstance(spec, RunSpec) or spec.pretrained or DEFENSES.get(spec.defense).cls.trains:
        return []
    network = build_embedder(BACKBONES.get(spec.backbone), seed=spec.seed, device=torch.device("cpu"))
    same = weights_hash(network) == record.provenance.weights
    return [] if same else [f"'{spec.defense}' trains nothing, and its weights are not those of its seed: run again"]


def claimed_values(record: Record, folder: Path) -> Values:
    """Read the per-query values in a folder, of bounded size.

    Raises:
        RbdmlError: a missing, too large or malformed file.
    """
    images = DATASETS.get(record.spec.dataset).test_images
    return load_values(folder / QUERIES_FILE, most=images, largest=MAX_BYTES)


@lru_cache(maxsize=8)
def _loaded(name: str, paths: DataPaths) -> Dataset:
    """Load a data set that is decoded already.

    Raises:
        MissingDataError: the data set is missing or not decoded.
    """
    info = DATASETS.get(name)
    status = info.status(paths)
    if status.decoded not in DECODED:
        raise MissingDataError(f"'{name}' is here and not decoded")
    return info.load(replace(paths, cache=status.decoded == "kept"))


def _loaded_or_note(name: str, paths: DataPaths) -> tuple[Dataset | None, list[str]]:
    try:
        return _loaded(name, paths), []
    except MissingDataError:
        return None, [f"'{name}' is not at hand: its files and chance are not compared"]
    except RbdmlError as error:
        return None, [f"'{name}' cannot be compared with: {error}"]


def _data_problems(record: Record, dataset: Dataset | None) -> list[str]:
    """Compare the files of the data set, and check that the backbone takes its images."""
    if dataset is None:
        return []
    spec, problems = record.spec, []
    if dict(dataset.hashes) != record.provenance.dataset_files:
        problems.append(f"made from other files than those of '{spec.dataset}' here: `rbdml data status` shows them")
    if spec.network is not None and not BACKBONES.get(spec.network).takes(dataset.image_shape):
        problems.append(f"backbone '{spec.network}' does not take the images of '{spec.dataset}': run again")
    return problems


def _source_problems(record: Record) -> list[str]:
    """Compare the source of the defense with the registered one."""
    spec, claimed = record.spec, record.provenance.defense_source
    if spec.defense is None or defense_source(DEFENSES.get(spec.defense)) == claimed:
        return []
    return [
        f"the source of '{spec.defense}' is not the one that the record was made with ({claimed[:SHORT]}): run again "
        "with what is here, or submit that source too"
    ]
