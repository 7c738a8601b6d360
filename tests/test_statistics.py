from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from robustbench_dml.statistics import bootstrap_interval


def test_interval_equals_scipys_percentile_bootstrap() -> None:
    values = np.random.default_rng(0).exponential(size=3000)
    (low, high) = bootstrap_interval({"x": values}, lambda means: means, seed=1)["x"]
    theirs = bootstrap((values,), np.mean, n_resamples=5000, method="percentile", rng=2).confidence_interval
    # A 90% interval would be 0.005 narrower at each end.
    assert low == pytest.approx(theirs.low, abs=0.0025)
    assert high == pytest.approx(theirs.high, abs=0.0025)


def test_values_are_resampled_together() -> None:
    """A difference of two columns that always differ by one has no spread."""
    x = np.random.default_rng(0).normal(size=50)
    interval = bootstrap_interval({"a": x, "b": x + 1}, lambda m: {"gap": m["b"] - m["a"]}, seed=0)["gap"]
    assert interval == pytest.approx((1.0, 1.0))
