"""How sure a mean over queries is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95

Means = dict[str, np.ndarray]


def bootstrap_interval(
    values: Mapping[str, np.ndarray], summary: Callable[[Means], Means], *, seed: int
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap over queries (Efron and Tibshirani, 1993), the same resamples for every value.

    Args:
        values: (Q,) arrays, one number per query.
        summary: from the (RESAMPLES,) means of each to what intervals are wanted of.
        seed: of the resampling.

    Returns:
        Lower and upper end of the 95% interval of everything that `summary` returns.
    """
    table = np.stack(list(values.values()), axis=1)
    queries = len(table)
    counts = np.random.default_rng(seed).multinomial(queries, np.full(queries, 1 / queries), size=RESAMPLES)
    means = dict(zip(values, (counts @ table / queries).T, strict=True))
    tail = 100 * (1 - LEVEL) / 2
    return {
        name: (float(np.percentile(sample, tail)), float(np.percentile(sample, 100 - tail)))
        for name, sample in summary(means).items()
    }
