"""Lower the radii of entries by submitted adversarial images."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.leaderboard.best_known import RADIUS, SHOWN_FILE, best_known, write_shown
from robustbench_dml.leaderboard.entries import Listed, described, read_all
from robustbench_dml.leaderboard.submission.submit import Prepared
from robustbench_dml.leaderboard.submission.transaction import Change
from robustbench_dml.models.checkpoints import load_checkpoint, weights_hash
from robustbench_dml.report.per_query import read_values
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.saved_attack import SavedAttack, read_attack, verify_attack
from robustbench_dml.utils.errors import RbdmlError


@contextmanager
def prepared_attack(file: Path, checkpoint: Path | None, leaderboards: Path, context: RunContext) -> Iterator[Prepared]:
    """Verify submitted images against a checkpoint; only `Prepared.write` writes.

    Args:
        file: a file of `rbdml attack --save`.
        checkpoint: the weights of an entry under the protocol `radius`.

    Raises:
        RbdmlError: the file is not valid, of other weights than the checkpoint or any entry, or lowers no radius.
    """
    if checkpoint is None:
        raise RbdmlError("--attack is verified against the attacked weights: give them with --checkpoint FILE")
    saved = read_attack(file)
    loaded = load_checkpoint(checkpoint, device=context.device)
    if weights_hash(loaded.embedder) != saved.weights:
        raise RbdmlError(f"{file}: an attack of other weights ({saved.weights[:16]}) than {checkpoint}")
    before = read_all(leaderboards)
    entries = [one for one in before if _is_attacked(one, saved)]
    if not entries:
        raise RbdmlError(f"{file}: no entry under the protocol 'radius' has its weights, data set and norm")
    dataset = load_dataset(saved.dataset, context.paths)
    for one in entries:
        if dict(dataset.hashes) != one.record.provenance.dataset_files:
            raise RbdmlError(f"made from other files than those of '{dataset.name}' here: `rbdml data status`")
        unknown = np.setdiff1d(saved.query.numpy(), read_values(one.record, one.folder)["query"])
        if len(unknown):
            raise RbdmlError(f"{file}: query {unknown[0]} is none of {described(one.record)}: leave it out")
    verify_attack(file, saved, loaded.model, dataset, entries[0].record.spec.evaluation, context.device)
    with TemporaryDirectory(prefix="rbdml-attack-") as private:
        copies = [_copy(one, Path(private), saved) for one in entries]
        lines = [_report(one, copy, before) for one, copy in zip(entries, copies, strict=True)]
        changes = [
            Change(one.folder / SHOWN_FILE, partial(shutil.copyfile, copy.folder / SHOWN_FILE))
            for one, copy in zip(entries, copies, strict=True)
        ]
        yield Prepared("\n".join(lines), tuple(changes), leaderboards, tuple(before))


def _is_attacked(one: Listed, saved: SavedAttack) -> bool:
    record = one.record
    evaluation = record.spec.evaluation
    of = (record.spec.dataset, record.provenance.weights, evaluation.threat.norm, evaluation.protocol)
    return of == (saved.dataset, saved.weights, saved.norm, "radius")


def _copy(one: Listed, private: Path, saved: SavedAttack) -> Listed:
    folder = private / one.record.digest
    shutil.copytree(one.folder, folder)
    write_shown(folder, saved.query.numpy(), saved.radii.numpy())
    return replace(one, folder=folder)


def _report(one: Listed, copy: Listed, entries: list[Listed]) -> str:
    """The change of an entry's score.

    Raises:
        RbdmlError: there is none.
    """
    others = [other for other in entries if other is not one]
    (old, known), (new, lowered) = best_known(one, entries), best_known(copy, [*others, copy])
    less = int((lowered[RADIUS] < known[RADIUS]).sum())
    if less == 0:
        raise RbdmlError(f"no radius is below the best known one of {described(one.record)}: there is nothing to do")
    return f"{described(one.record)}: {less} radii are lower, MR {old.primary_score:.2f} -> {new.primary_score:.2f}"
