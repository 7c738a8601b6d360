"""Confidence intervals of means over queries, and tests between models on the same queries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
SWAPS = 9999
LEVEL = 0.95
AT_ONCE = 2**22  # random numbers in memory at once: 32 MiB

Means = dict[str, np.ndarray]
Summary = Callable[[Means], Means]


@dataclass(frozen=True)
class Difference:
    """Difference of two models, first minus second.

    Attributes:
        value: the difference.
        low: lower end of its 95% interval.
        high: upper end.
        p: probability of a difference this large between equal models, in (0, 1].
    """

    value: float
    low: float
    high: float
    p: float


def bootstrap_interval(
    values: Mapping[str, np.ndarray], summary: Summary, *, seed: int, medians: Collection[str] = ()
) -> dict[str, tuple[float, float]]:
    """Bootstrap 95% percentile intervals over queries (Efron and Tibshirani, 1993), with shared resamples.

    Args:
        values: (Q,) arrays, one number per query.
        summary: maps the (RESAMPLES,) means of the values to the quantities of interest.
        seed: random seed for the resampling.
        medians: names of values whose `median_above_zero` is taken instead of the mean.

    Returns:
        Lower and upper end for every quantity.
    """
    (means,) = _resampled(values, seed=seed, medians=medians)
    return {name: _ends(sample) for name, sample in summary(means).items()}


def median_above_zero(values: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """Median of the values above 0; 0 where there are none.

    Args:
        values: (Q,).
        counts: (R, Q) number of copies of each value in each of R samples; by default one sample with each value once.

    Returns:
        (R,).
    """
    counts = np.ones((1, len(values)), dtype=int) if counts is None else counts
    order = np.argsort(values, kind="stable")
    order = order[values[order] > 0]
    if len(order) == 0:
        return np.zeros(len(counts))
    ends = counts[:, order].cumsum(1)
    total = ends[:, -1:]
    middle = [values[order][(ends > place).argmax(1)] for place in ((total - 1) // 2, total // 2)]
    return np.where(total[:, 0] > 0, np.mean(middle, axis=0), 0.0)


def paired_differences(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], summary: Summary, *, seed: int
) -> dict[str, Difference]:
    """Compare two models on the same queries by a paired bootstrap and a permutation test.

    The test swaps the models' values query by query, all columns of a query together (for means, the sign-flip test
    of Fisher, 1935). If the models are equal, every swap is equally likely. Scores of any form can be tested, linear
    or not. p is two-sided, (1 + as extreme swaps) / (1 + SWAPS).

    Args:
        first: (Q,) arrays, one number per query.
        second: the same names and queries.
        summary: maps the (R,) means of the values to the compared quantities, elementwise.
        seed: random seed for the resampling and the swaps.
    """
    ours, theirs = (summary(means) for means in _resampled(first, second, seed=seed))
    tables = [np.stack([values[name] for name in first], axis=1) for values in (first, second)]
    centre, half = (tables[0] + tables[1]).mean(0) / 2, (tables[0] - tables[1]) / 2
    observed = _gap(summary, list(first), centre, half.mean(0, keepdims=True))
    as_extreme = dict.fromkeys(observed, 1)
    for moved in _swapped_means(half, seed=seed):
        for name, gaps in _gap(summary, list(first), centre, moved).items():
            as_extreme[name] += _count_as_extreme(gaps, observed[name][0])
    return {
        name: Difference(float(gap[0]), *_ends(ours[name] - theirs[name]), as_extreme[name] / (SWAPS + 1))
        for name, gap in observed.items()
    }


def paired_p_values(values: np.ndarray, *, seed: int) -> np.ndarray:
    """Test the mean of one value between all pairs of M models, as `paired_differences` does.

    Args:
        values: (Q, M), one column per model.
        seed: random seed for the swaps, shared by all pairs.

    Returns:
        (M, M) two-sided p, symmetric, 1 on the diagonal.
    """
    means = values.mean(0)
    observed = means[:, None] - means
    as_extreme = np.ones_like(observed)
    for moved in _swapped_means(values, seed=seed):
        for row, gaps in enumerate(np.moveaxis(moved[:, :, None] - moved[:, None], 1, 0)):
            as_extreme[row] += [_count_as_extreme(gap, seen) for gap, seen in zip(gaps.T, observed[row], strict=True)]
    return as_extreme / (SWAPS + 1)


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Correct p values for multiple tests (Holm, 1979): the chance of any false alarm stays below the level."""
    corrected: dict[str, float] = {}
    least = 0.0
    for smaller, name in enumerate(sorted(p, key=lambda name: p[name])):
        least = max(least, min(1.0, (len(p) - smaller) * p[name]))
        corrected[name] = least
    return {name: corrected[name] for name in p}


def _gap(summary: Summary, names: list[str], centre: np.ndarray, half: np.ndarray) -> Means:
    """First minus second of each quantity, from (C,) common means and (R, C) half differences."""
    ends = [summary(dict(zip(names, (centre + side * half).T, strict=True))) for side in (1, -1)]
    return {name: ends[0][name] - ends[1][name] for name in ends[0]}


def _count_as_extreme(gaps: np.ndarray, seen: float) -> int:
    # Swaps with the same sum in another order are as extreme, up to rounding.
    return int((np.abs(gaps) >= abs(seen) - 1e-9 * max(1.0, abs(seen))).sum())


def _swapped_means(values: np.ndarray, *, seed: int) -> Iterator[np.ndarray]:
    """Means of (Q, C) values with random signs of the queries, SWAPS rows in blocks of (R, C)."""
    rng = np.random.default_rng(seed)
    queries = len(values)
    step = max(1, AT_ONCE // queries)
    for start in range(0, SWAPS, step):
        swaps = min(step, SWAPS - start)
        bits = np.unpackbits(
            np.frombuffer(rng.bytes(swaps * (queries // 8 + 1)), dtype=np.uint8).reshape(swaps, -1), axis=1
        )
        yield (2.0 * bits[:, :queries] - 1) @ values / queries


def _resampled(*models: Mapping[str, np.ndarray], seed: int, medians: Collection[str] = ()) -> list[Means]:
    """(RESAMPLES,) means, or medians, of every value of every model, over the same resampled queries."""
    tables = [np.stack(list(values.values()), axis=1) for values in models]
    queries = len(tables[0])
    rng = np.random.default_rng(seed)
    step = max(1, AT_ONCE // queries)
    parts: list[list[np.ndarray]] = [[] for _ in models]
    for start in range(0, RESAMPLES, step):
        counts = rng.multinomial(queries, np.full(queries, 1 / queries), size=min(step, RESAMPLES - start))
        for part, table, values in zip(parts, tables, models, strict=True):
            part.append(counts @ table / queries)
            for column, name in enumerate(values):
                if name in medians:
                    part[-1][:, column] = median_above_zero(values[name], counts)
    return [dict(zip(values, np.concatenate(part).T, strict=True)) for values, part in zip(models, parts, strict=True)]


def _ends(sample: np.ndarray) -> tuple[float, float]:
    tail = 100 * (1 - LEVEL) / 2
    return float(np.percentile(sample, tail)), float(np.percentile(sample, 100 - tail))
