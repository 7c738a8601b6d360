"""The second evaluation: a checkpoint on a part of the claimed queries, compared value by value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from robustbench_dml.datasets.base import Dataset
from robustbench_dml.evaluation.diagnostics import check_model
from robustbench_dml.evaluation.evaluate import attacked_values, benign_values, clusters_of, enter
from robustbench_dml.leaderboard.entries import Verification
from robustbench_dml.report.per_query import ranking_values
from robustbench_dml.retrieval.metrics import effective_rank, mean_cosine
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.evaluate import load_surrogate
from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.protocols import evaluated_columns
from robustbench_dml.utils import provenance
from robustbench_dml.utils.errors import RbdmlError

QUERIES = 128  # that are attacked again unless another number is asked for
MORE = 2048  # where values differ by more than rounding
EQUAL = 1e-6  # fractions that differ by less are equal but for rounding
REPRODUCED = 0.02  # share of values that may differ where a machine reproduces those of the record
# Mean differences that are tolerated, in points of 0 to 100; docs/submitting.md has the measurements behind them.
BASE, ERRORS, MOST = 0.5, 2.5, 4.0
NMI = 2.0
GEOMETRY = 0.01  # of the mean cosine, and relative of the effective rank


@dataclass(frozen=True)
class Compared:
    """Claimed values beside found ones.

    Attributes:
        differences: claimed minus found by name, means over the same queries, in the units of the papers.
        points: the same on the scale of 0 to 100.
        tolerated: the greatest absolute value of each that is believed.
        unequal: share of the attacked values that differ by more than rounding.
    """

    differences: dict[str, float]
    points: dict[str, float]
    tolerated: dict[str, float]
    unequal: float

    @property
    def problems(self) -> list[str]:
        """Differences that no honest evaluation was seen to have."""
        return [
            f"{name} differs by {self.differences[name]:+.3g}, {abs(points):.2g} of 100 points where "
            f"{self.tolerated[name]:.2g} are tolerated"
            for name, points in self.points.items()
            if not abs(points) <= self.tolerated[name]
        ]


def part_of(record: Record, queries: int, count: int) -> np.ndarray:
    """Places, in the per-query values, of those that are evaluated again; fewer are the first of more.

    They follow from the hash of the file of values, so that nobody can choose values by the part that is looked at:
    to change a value is to change the part.

    Args:
        record: it names the file's hash.
        queries: how many there are.
        count: how many are wanted; at most all.
    """
    rng = np.random.default_rng(int(record.provenance.queries[:16], 16))
    return rng.permutation(queries)[:count]


def recheck(
    record: Record, values: Values, model: nn.Module, dataset: Dataset, place: RunContext, *, queries: int = QUERIES
) -> Verification:
    """Evaluate a model on a part of the claimed queries and compare; on more of them where values are not the same.

    Args:
        record: that passed its audit.
        values: its per-query values.
        model: of its checkpoint, as it is deployed.
        dataset: of the record's files.
        place: device, batch size, surrogate and bars.
        queries: how many to attack; retrieval is compared on all.

    Raises:
        RbdmlError: what was found is not what is claimed.
    """
    evaluation, every = record.spec.evaluation, len(values["query"])
    surrogate = load_surrogate(evaluation, dataset, place)
    arena = enter(model, dataset, evaluation, device=place.device, surrogate=surrogate)
    rows = torch.from_numpy(values["query"])
    benign = _arrays(benign_values(arena, rows))
    nmi, part, attacked = clusters_of(arena).nmi(arena.split.labels), part_of(record, every, 0), dict[str, np.ndarray]()
    for count in (queries, MORE):
        wanted = part_of(record, every, count)
        new = attacked_values(arena, rows[wanted[len(part) :]], batch_size=place.batch_size, progress=place.progress)
        attacked = {name: np.concatenate([attacked.get(name, []), one]) for name, one in _arrays(new).items()}
        part = wanted
        compared = compare(record, values, part, benign=benign, attacked=attacked, nmi=nmi)
        if compared.unequal <= REPRODUCED or len(part) >= min(MORE, every):
            break
    problems = compared.problems + _geometry_problems(record, arena.gallery.embeddings)
    if problems:
        raise RbdmlError(
            f"its checkpoint does not have the values of the record on {len(part)} queries: {'; '.join(problems)}: "
            "evaluate it here with `rbdml evaluate CHECKPOINT` and submit that record"
        )
    found = check_model(arena, rows[np.sort(part[:queries])].to(place.device))
    commit, dirty = provenance.source_commit()
    return Verification(
        created=provenance.now(),
        queries=len(part),
        differences=compared.differences,
        unequal=compared.unequal,
        flags=found.flags,
        disqualifying=found.disqualifying,
        versions=provenance.versions(),
        device=provenance.device_name(place.device),
        commit=commit,
        dirty=dirty,
    )


def compare(
    record: Record, values: Values, part: np.ndarray, *, benign: Values, attacked: Values, nmi: float
) -> Compared:
    """Hold claimed values against found ones.

    A machine that computes in another order changes single queries, up and down, and their mean by its standard
    error; what is more than that is a claim. Where a machine reproduces nearly all values, there is no such error.

    Args:
        record: the claim.
        values: its per-query values, (Q,) each.
        part: (P,) places of the queries that were attacked again.
        benign: (Q,) found, as fractions.
        attacked: (P,) found, as fractions.
        nmi: found, in [0, 1].
    """
    columns = evaluated_columns(record.spec.evaluation)
    gaps = {name: values[name][part] - attacked[name] for name in columns}
    unequal = float(np.mean([np.abs(gap) > EQUAL for gap in gaps.values()]))
    points = {name: columns[name].scale * columns[name].ers_slope * gap for name, gap in gaps.items()}
    points |= _score_gap(record, values, part, benign, attacked)
    retrieved = {name: 100 * (values[name] - benign[name]) for name in benign}
    means = {name: float(gap.mean()) for name, gap in {**retrieved, **points}.items()}
    reproduced = unequal <= REPRODUCED
    tolerated = {name: _tolerated(gap, reproduced=reproduced) for name, gap in points.items()}
    tolerated |= {name: _tolerated(gap, reproduced=True) for name, gap in retrieved.items()}
    units = {name: columns[name].scale * float(gap.mean()) for name, gap in gaps.items()}
    clusters = record.benign["NMI"] - 100 * nmi
    return Compared(
        differences={**means, **units, "NMI": clusters},
        points={**means, "NMI": clusters},
        tolerated={**tolerated, "NMI": NMI},
        unequal=unequal,
    )


def _tolerated(gap: np.ndarray, *, reproduced: bool) -> float:
    """Of a mean of (P,) differences, in points: one query wholly changed, or what errors of their spread explain."""
    count = len(gap)
    spread = 100 / count if reproduced else ERRORS * float(gap.std()) / count**0.5
    return min(MOST, BASE + spread)


def _score_gap(record: Record, values: Values, part: np.ndarray, benign: Values, attacked: Values) -> Values:
    """(P,) claimed minus found of the score that ranks; nothing where it is no mean over queries."""
    claimed = {name: values[name][part] for name in (*benign, *attacked)}
    found = {**{name: benign[name][part] for name in benign}, **attacked}
    one, other = (ranking_values(record, {name: both[name] for name in both}) for both in (claimed, found))
    return {} if one is None or other is None else {record.score: one - other}


def _geometry_problems(record: Record, embeddings: torch.Tensor) -> list[str]:
    """What decides whether embeddings have collapsed."""
    measured = record.diagnostics.measured
    cosine, rank = measured["mean cosine"], measured["effective rank"]
    found = mean_cosine(embeddings), effective_rank(embeddings)
    if abs(cosine - found[0]) <= GEOMETRY and abs(rank - found[1]) <= GEOMETRY * found[1]:
        return []
    return [
        f"mean cosine and effective rank are claimed {cosine:.3g} and {rank:.3g}, and its embeddings have "
        f"{found[0]:.3g} and {found[1]:.3g}"
    ]


def _arrays(tensors: dict[str, Any]) -> Values:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
