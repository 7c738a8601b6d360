"""The second evaluation: attack a part of the claimed queries again and compare the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from robustbench_dml.datasets.base import Dataset
from robustbench_dml.evaluation.diagnostics import check_model
from robustbench_dml.evaluation.evaluate import attacked_values, benign_values, clusters_of, context_for
from robustbench_dml.leaderboard.entries import Verification
from robustbench_dml.report.per_query import ranking_values
from robustbench_dml.retrieval.metrics import effective_rank, mean_cosine
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.protocols import evaluated_columns
from robustbench_dml.utils import provenance
from robustbench_dml.utils.errors import RbdmlError

QUERIES = 128  # queries attacked again by default
MORE = 2048  # queries attacked again if values differ by more than rounding
EQUAL = 1e-6  # fractions that differ by less are equal up to rounding
REPRODUCED = 0.02  # share of unequal values on a machine that reproduces the record
# Tolerated mean differences in points of 0 to 100; docs/submitting.md has the measurements behind them.
BASE, ERRORS, MOST = 0.5, 2.5, 4.0
NMI = 2.0
GEOMETRY = 0.01  # tolerance: absolute for the mean cosine, relative for the effective rank


@dataclass(frozen=True)
class Compared:
    """Claimed values compared with measured values."""

    differences: dict[str, float]  # mean of claimed minus measured by name, in the units of the papers
    points: dict[str, float]  # the same on a scale of 0 to 100
    tolerated: dict[str, float]  # largest accepted absolute value of `points`
    unequal: float  # share of the attacked values that differ by more than rounding

    @property
    def problems(self) -> list[str]:
        """Differences beyond the tolerances, which all measured honest evaluations kept."""
        return [
            f"{name} differs by {self.differences[name]:+.3g}, {abs(points):.2g} of 100 points where "
            f"{self.tolerated[name]:.2g} are tolerated"
            for name, points in self.points.items()
            if not abs(points) <= self.tolerated[name]
        ]


def part_of(record: Record, queries: int, count: int) -> np.ndarray:
    """Choose the queries to evaluate again; a smaller choice is the start of a larger choice.

    The choice follows from the hash of the per-query values: to change a value is to change the choice.

    Args:
        count: number wanted; at most all are returned.

    Returns:
        (count,) rows of the per-query values.
    """
    rng = np.random.default_rng(int(record.provenance.queries[:16], 16))
    return rng.permutation(queries)[:count]


def recheck(
    record: Record, values: Values, model: nn.Module, dataset: Dataset, context: RunContext, *, queries: int = QUERIES
) -> Verification:
    """Evaluate a model on a part of the claimed queries and compare; on more queries if values differ.

    Args:
        model: the model from its checkpoint, as deployed.
        dataset: the data set with the record's files.
        context: device, batch size and surrogate.
        queries: number to attack; retrieval is compared on all.

    Raises:
        RbdmlError: the measured values contradict the claimed ones.
    """
    evaluation, total = record.spec.evaluation, len(values["query"])
    surrogate = context.surrogate_model(evaluation, dataset)
    attack_context = context_for(model, dataset, evaluation, device=context.device, surrogate=surrogate)
    rows = torch.from_numpy(values["query"])
    benign = _arrays(benign_values(attack_context, rows))
    nmi = clusters_of(attack_context).nmi(attack_context.split.labels)
    part, attacked = part_of(record, total, 0), dict[str, np.ndarray]()
    for count in (queries, MORE):
        wanted = part_of(record, total, count)
        new = attacked_values(
            attack_context, rows[wanted[len(part) :]], batch_size=context.batch_size, progress=context.progress
        )
        attacked = {name: np.concatenate([attacked.get(name, []), found]) for name, found in _arrays(new).items()}
        part = wanted
        compared = compare(record, values, part, benign=benign, attacked=attacked, nmi=nmi)
        if compared.unequal <= REPRODUCED or len(part) >= min(MORE, total):
            break
    problems = compared.problems + _geometry_problems(record, attack_context.gallery.embeddings)
    if problems:
        raise RbdmlError(
            f"its checkpoint does not have the values of the record on {len(part)} queries: {'; '.join(problems)}: "
            "evaluate it here with `rbdml evaluate CHECKPOINT` and submit that record"
        )
    checks = check_model(attack_context, rows[np.sort(part[:queries])].to(context.device))
    commit, dirty = provenance.source_commit()
    return Verification(
        created=provenance.now(),
        queries=len(part),
        differences=compared.differences,
        unequal=compared.unequal,
        flags=checks.flags,
        disqualifying=checks.disqualifying,
        versions=provenance.versions(),
        device=provenance.device_name(context.device),
        commit=commit,
        dirty=dirty,
    )


def compare(
    record: Record, values: Values, part: np.ndarray, *, benign: Values, attacked: Values, nmi: float
) -> Compared:
    """Compare claimed values with measured values.

    A machine that computes in another order changes single queries up and down, and their mean by its standard
    error. A larger difference is a false claim. A machine that reproduces nearly all values has no such error.

    Args:
        values: the record's per-query values, (Q,) each.
        part: (P,) rows of the queries that were attacked again.
        benign: (Q,) measured benign values, as fractions.
        attacked: (P,) measured values under attack, as fractions.
        nmi: measured NMI, in [0, 1].
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
    """Tolerate one wholly changed query, or the standard error, in the mean of (P,) differences in points."""
    count = len(gap)
    spread = 100 / count if reproduced else ERRORS * float(gap.std()) / count**0.5
    return min(MOST, BASE + spread)


def _score_gap(record: Record, values: Values, part: np.ndarray, benign: Values, attacked: Values) -> Values:
    """Return (P,) claimed minus measured values of the ranking score; empty if the score is no mean over queries."""
    claimed = {name: values[name][part] for name in (*benign, *attacked)}
    measured = {**{name: benign[name][part] for name in benign}, **attacked}
    one, other = (ranking_values(record, {name: both[name] for name in both}) for both in (claimed, measured))
    return {} if one is None or other is None else {record.score: one - other}


def _geometry_problems(record: Record, embeddings: torch.Tensor) -> list[str]:
    """Compare the values that decide whether embeddings have collapsed."""
    cosine, rank = (record.diagnostics.measured[name] for name in ("mean cosine", "effective rank"))
    measured = mean_cosine(embeddings), effective_rank(embeddings)
    if abs(cosine - measured[0]) <= GEOMETRY and abs(rank - measured[1]) <= GEOMETRY * measured[1]:
        return []
    return [
        f"mean cosine and effective rank are claimed {cosine:.3g} and {rank:.3g}, and its embeddings have "
        f"{measured[0]:.3g} and {measured[1]:.3g}"
    ]


def _arrays(tensors: dict[str, Any]) -> Values:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
