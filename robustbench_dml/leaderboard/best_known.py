"""The best known radii of an entry: for each query the smallest radius that anybody showed for the same weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from robustbench_dml.evaluation.evaluate import published_means
from robustbench_dml.evaluation.radius import RadiusAttack
from robustbench_dml.leaderboard.entries import Listed
from robustbench_dml.report.per_query import read_values, shown_values, summary_for
from robustbench_dml.runs.queries import Values, load_values
from robustbench_dml.runs.record import Record
from robustbench_dml.runs.saved_attack import QUERY
from robustbench_dml.spec.protocols import median_columns, protocol_columns
from robustbench_dml.spec.registry import ATTACKS
from robustbench_dml.spec.scores import scores_of
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.randomness import seed_of
from robustbench_dml.utils.statistics import bootstrap_interval

SHOWN_FILE = "shown.npz"  # in an entry's folder: rows of queries, and radii that submitted images showed
RADIUS, WORST = "MR:Q", "AR:Q"  # the columns of the protocols `radius` and `autorank`


def best_known(one: Listed, entries: Iterable[Listed]) -> tuple[Record, Values]:
    """Return the record and the per-query values of an entry with the best known radius of every query.

    Only entries under the protocol `radius` change.

    Args:
        one: the entry.
        entries: all entries; those of other weights or another norm are left out.

    Raises:
        RbdmlError: per-query values are missing or not those of their record.
    """
    values = read_values(one.record, one.folder)
    if RADIUS not in values:
        return one.record, values
    least = dict(zip(values["query"].tolist(), values[RADIUS].tolist(), strict=True))
    for other in entries:
        if _same_weights(one, other):
            for query, radius in _shown(other):
                if query in least:
                    least[query] = min(least[query], radius)
    radii = np.array([least[query] for query in values["query"].tolist()])
    if np.array_equal(radii, values[RADIUS]):
        return one.record, values
    return _lowered(one.record, values, radii)


def lowered(entries: Sequence[Listed]) -> dict[str, tuple[Record, Values]]:
    """Return what `best_known` returns for every entry that it changes, by digest."""
    found = {}
    for one in entries:
        if one.record.spec.evaluation.protocol == "radius":
            with suppress(RbdmlError):  # without values nothing can be compared
                record, values = best_known(one, entries)
                if record is not one.record:
                    found[record.digest] = record, values
    return found


def write_shown(folder: Path, query: np.ndarray, radii: np.ndarray) -> None:
    """Write the radii that submitted images showed; radii shown before stay where they are smaller."""
    known = dict(zip(query.tolist(), radii.tolist(), strict=True))
    for row, radius in _submitted(folder):
        known[row] = min(radius, known.get(row, radius))
    rows = sorted(known)
    arrays = {"query": np.array(rows), RADIUS: np.array([known[row] for row in rows])}
    np.savez_compressed(folder / SHOWN_FILE, **arrays)  # type: ignore[arg-type]


def _same_weights(one: Listed, other: Listed) -> bool:
    a, b = one.record, other.record
    return (
        a.provenance.weights == b.provenance.weights
        and a.spec.label == b.spec.label  # a defense may deploy the same weights in another way
        and a.provenance.dataset_files == b.provenance.dataset_files
        and a.spec.dataset == b.spec.dataset
        and a.spec.evaluation.threat.norm == b.spec.evaluation.threat.norm
    )


def _shown(other: Listed) -> list[tuple[int, float]]:
    """Rows of queries and the radii at which an entry shows them broken."""
    values = read_values(other.record, other.folder)
    pairs = _submitted(other.folder)
    if RADIUS in values:  # the largest radius may not break a query; then it lowers none
        pairs += zip(values["query"].tolist(), values[RADIUS].tolist(), strict=True)
    if WORST in values:
        broken = values["query"][values[WORST] == 0].tolist()
        pairs += [(query, other.record.spec.evaluation.threat.eps) for query in broken]
    return pairs


def _submitted(folder: Path) -> list[tuple[int, float]]:
    path = folder / SHOWN_FILE
    if not path.exists():
        return []
    values = load_values(path)
    return list(zip(values["query"].tolist(), values[RADIUS].tolist(), strict=True))


def _lowered(record: Record, values: Values, radii: np.ndarray) -> tuple[Record, Values]:
    attack, evaluation = ATTACKS.get(QUERY).build(), record.spec.evaluation
    assert isinstance(attack, RadiusAttack)
    columns = attack.columns_of(torch.from_numpy(radii), evaluation)
    new = {**values, **{name: column.numpy() for name, column in columns.items()}}
    attacked = published_means(evaluation, new)
    scores = scores_of(evaluation.protocol, protocol_columns(evaluation.protocol))
    scored = {score.name: float(score.of({**record.benign, **attacked})) for score in scores}  # type: ignore[dict-item]
    intervals = bootstrap_interval(
        shown_values(record, new),
        summary_for(record),
        seed=seed_of(evaluation.seed, "bootstrap", record.spec.dataset),
        medians=median_columns(evaluation),
    )
    return record.model_copy(update={"attacked": attacked, "scores": scored, "intervals": intervals}), new
