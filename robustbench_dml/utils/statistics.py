"""Intervals and tests of means over queries, and over seeds and queries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

RESAMPLES = 1000
SWAPS = 9999
LEVEL = 0.95
LEAST_FREEDOM = 2  # of a variance between seeds: with one, the t quantile is 12.7
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


@dataclass(frozen=True)
class Variance:
    """The estimated variance of a mean, with the degrees of freedom of the estimate."""

    amount: float
    freedom: float

    def __add__(self, other: Variance) -> Variance:
        """Add an independent estimate (Satterthwaite, 1946)."""
        parts = [part for part in (self, other) if part.amount > 0]
        if len(parts) < 2:
            return parts[0] if parts else self
        total = self.amount + other.amount
        return Variance(total, total**2 / sum(part.amount**2 / part.freedom for part in parts))

    def half_width(self) -> float:
        """Half the 95% interval of the mean, by the t distribution."""
        return float(stdtrit(self.freedom, (1 + LEVEL) / 2) * self.amount**0.5) if self.amount > 0 else 0.0

    def probability_above(self, value: float) -> float:
        """Probability that the true mean is above 0, given the measured mean: the one-sided t test."""
        if self.amount > 0:
            return float(stdtr(self.freedom, value / self.amount**0.5))
        return 0.5 + 0.5 * float(np.sign(value))


def pooled_variance(groups: Iterable[Sequence[float]]) -> Variance:
    """Pool the variance within groups, each with a mean of its own; 0 without freedom below `LEAST_FREEDOM`."""
    many = [np.asarray(group) for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in many)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in many)
    return Variance(squares / freedom, freedom) if freedom >= LEAST_FREEDOM else Variance(0.0, 0)


def shared_covariance(models: Sequence[np.ndarray]) -> np.ndarray:
    """Covariance of the means of M models by the choice of queries, apart from the part that seeds average out.

    Seeds of a model share the effect of a query, and each has an effect of its own. The covariance of two seeds
    estimates the variance of the shared effect. A model with a single seed gives its whole variance, an upper bound.

    Args:
        models: for each model (S, Q) values of its seeds for the same queries.

    Returns:
        (M, M), not below 0 on the diagonal.
    """
    queries = models[0].shape[1]
    means = np.stack([values.mean(0) for values in models])
    shared = np.atleast_2d(np.cov(means)) if queries > 1 else np.zeros((len(models), len(models)))
    for index, values in enumerate(models):
        seeds = len(values)
        if seeds > 1 and queries > 1:
            own = np.var(values, axis=1, ddof=1).sum() / seeds
            shared[index, index] = max(0.0, (seeds * shared[index, index] - own) / (seeds - 1))
    return shared / queries


def pseudo_values(values: Mapping[str, np.ndarray], summary: Summary, *, medians: Collection[str] = ()) -> Means:
    """Return (Q,) values of every quantity whose mean has the variance of the quantity over the queries.

    For a mean these are its values, for another function of means the pseudo-values of the jackknife (Tukey, 1958).
    The jackknife fails for a median: its values are made from the standard error of McKean and Schrader (1984).

    Args:
        values: (Q,) arrays, one number per query.
        summary: maps the means of the values to the quantities, elementwise.
        medians: names of values whose median above zero is taken.
    """
    queries = len(next(iter(values.values())))
    if queries < 2:
        return summary(dict(values))
    whole = summary({name: value.mean(keepdims=True) for name, value in values.items()})
    without = summary({name: (value.sum() - value) / (queries - 1) for name, value in values.items()})
    pseudo = {name: queries * whole[name] - (queries - 1) * without[name] for name in whole}
    unit = summary({name: np.ones(1) for name in values})  # the scale of a column
    return pseudo | {name: unit[name] * _around_median(values[name]) for name in medians}


def _around_median(values: np.ndarray) -> np.ndarray:
    """(Q,) values with the standard error of the median above zero; 0 where the value is 0."""
    above = np.sort(values[values > 0])
    count = len(above)
    if count < 2:
        return np.zeros(len(values))
    z = float(stdtrit(np.inf, (1 + LEVEL) / 2))
    low = max(0, round((count + 1) / 2 - z * (count / 4) ** 0.5) - 1)
    error = (above[count - 1 - low] - above[low]) / (2 * z)
    return np.where(values > 0, np.sign(values - np.median(above)), 0) * error * len(values) / count**0.5


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
