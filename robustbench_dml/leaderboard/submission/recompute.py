"""Recompute every value of a record from its per-query values."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import torch

from robustbench_dml.datasets.base import Dataset
from robustbench_dml.evaluation.evaluate import choose_queries
from robustbench_dml.leaderboard.submission.claims import same
from robustbench_dml.report.per_query import shown_values, summary_for
from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.columns import RADIUS_SCALE, Column
from robustbench_dml.spec.protocols import BENIGN_COLUMNS, evaluated_columns, median_columns, protocol_columns
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.spec.scores import CHANCE, fixed_list_recall, scores_of
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.randomness import seed_of
from robustbench_dml.utils.statistics import bootstrap_interval, median_above_zero

SHARES = [name for name in BENIGN_COLUMNS if name != "NMI"]
RANGES = {"TMA": (-1.0, 1.0), "ES:D": (0.0, 2.0)}
SLACK = 1e-6  # rounding beyond the end of a range
ALTERED = "it was altered; evaluate again"


def value_problems(record: Record, values: Values, dataset: Dataset | None) -> Iterator[str]:
    """Find values that do not follow from the per-query values, and impossible per-query values, as fractions.

    Args:
        dataset: None if it is missing; the claimed chance is accepted then.
    """
    wrong = [*_shape_problems(record, values), *_query_problems(record, values["query"], dataset)]
    wrong = wrong or [*_range_problems(record, values), *_benign_problems(record, values, dataset)]
    yield from wrong or _mean_problems(record, values)


def _shape_problems(record: Record, values: Values) -> Iterator[str]:
    """Find missing and unknown columns. The order of scores counts, because the first score ranks."""
    evaluation = record.spec.evaluation
    columns = list(evaluated_columns(evaluation))
    scores = [score.name for score in scores_of(evaluation.protocol, protocol_columns(evaluation.protocol))]
    expected: dict[str, tuple[Collection[str], Collection[str]]] = {
        "benign": (set(record.benign), {*BENIGN_COLUMNS, CHANCE}),
        "attacked": (set(record.attacked), set(columns)),
        "scores": (list(record.scores), scores),
        "intervals": (set(record.intervals), {*SHARES, *columns, *scores}),
    }
    for name, (given, true) in expected.items():
        if given != true:
            yield f"{name}: {_listed(given)} where the protocol has {_listed(true)}: evaluate again with this version"
    missing = [name for name in (*SHARES, *columns) if name not in values or values[name].dtype != np.float64]
    if missing:
        yield f"per-query values: no float64 values of {', '.join(missing)}: evaluate again"
    for name in {"NMI", CHANCE} & set(values):
        yield f"per-query values: {name} is of all queries together and has none: evaluate again"


def _query_problems(record: Record, rows: np.ndarray, dataset: Dataset | None) -> Iterator[str]:
    """Compare the queries with the queries that the evaluation chooses."""
    evaluation, info = record.spec.evaluation, DATASETS.get(record.spec.dataset)
    # Without the data, equal labels suffice: in every registered set, each test image has another of its class.
    labels = torch.zeros(info.test_images) if dataset is None else dataset.test.labels
    try:
        chosen = choose_queries(labels, evaluation, info.name).numpy()
    except RbdmlError as error:
        yield str(error)
        return
    if rows.dtype != np.int64 or not np.array_equal(rows, chosen):
        yield f"per-query values: not of the queries that seed {evaluation.seed} chooses: evaluate again"


def _range_problems(record: Record, values: Values) -> Iterator[str]:
    columns = evaluated_columns(record.spec.evaluation)
    for name, array in values.items():
        if not np.isfinite(array.astype(float)).all():
            yield f"per-query values: {name} holds values that are not finite: evaluate again"
    for name in (*SHARES, *columns):
        low, high = _range(name, columns.get(name), record.spec.evaluation.threat.eps)
        if not ((values[name] >= low - SLACK) & (values[name] <= high + SLACK)).all():
            yield f"per-query values: {name} holds values outside of {low:g} to {high:g}: evaluate again"
    for name in ("R@1", "R@2"):
        if not np.isin(values[name], (0.0, 1.0)).all():
            yield f"per-query values: {name} holds values that are neither 0 nor 1: evaluate again"


def _range(name: str, column: Column | None, radius: float) -> tuple[float, float]:
    """Shares and ranks are in [0, 1]; distances on the sphere, and their differences, are at most 2."""
    if column is not None and column.scale == RADIUS_SCALE:
        return 0.0, radius
    return RANGES.get(name, (0.0, 1.0) if column is None or column.scale == 100 else (-2.0, 2.0))


def _benign_problems(record: Record, values: Values, dataset: Dataset | None) -> Iterator[str]:
    """Check NMI and chance, which are not means of per-query values."""
    for name in ("NMI", CHANCE):
        if not 0 <= record.benign[name] <= 100:
            yield f"{name} is {record.benign[name]:g}, and it is a percentage: {ALTERED}"
    if dataset is not None:
        chance = fixed_list_recall(dataset.test.labels[torch.from_numpy(values["query"])].numpy())
        if not same(record.benign[CHANCE], chance):
            yield f"chance is {record.benign[CHANCE]:g} and these queries make it {chance:g}: {ALTERED}"


def _mean_problems(record: Record, values: Values) -> Iterator[str]:
    shown = shown_values(record, values)
    summary = summary_for(record)
    medians = median_columns(record.spec.evaluation)
    means = summary(
        {name: median_above_zero(array)[0] if name in medians else array.mean() for name, array in shown.items()}
    )
    for name, value in means.items():
        if not same(float(value), record.values[name]):
            yield f"{name} is {record.values[name]:.6g} and its per-query values make it {float(value):.6g}: {ALTERED}"
    seed = seed_of(record.spec.evaluation.seed, "bootstrap", record.spec.dataset)
    for name, ends in bootstrap_interval(shown, summary, seed=seed, medians=medians).items():
        given = record.intervals[name]
        if not all(map(same, ends, given)):
            yield (
                f"the interval of {name} is {given[0]:.6g} to {given[1]:.6g} and its per-query values make it "
                f"{ends[0]:.6g} to {ends[1]:.6g}: {ALTERED}"
            )


def _listed(names: Collection[str]) -> str:
    listed = sorted(names) if isinstance(names, set) else list(names)
    return ", ".join(str(name)[:30] for name in listed[:20]) or "nothing"
