from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, permutation_test

from robustbench_dml.utils import statistics
from robustbench_dml.utils.statistics import (
    Difference,
    Means,
    bootstrap_interval,
    holm,
    paired_differences,
    paired_p_values,
)


def alone(means: Means) -> Means:
    return means


def difference(first: np.ndarray, second: np.ndarray, *, seed: int = 0) -> Difference:
    return paired_differences({"x": first}, {"x": second}, alone, seed=seed)["x"]


def mean_gap(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean(first, axis=axis) - np.mean(second, axis=axis)


def pair(queries: int, *, shift: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two models that agree much more with each other than queries do."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=queries)
    return hard + shift + 0.3 * rng.normal(size=queries), hard + 0.3 * rng.normal(size=queries)


def test_interval_equals_scipys_percentile_bootstrap() -> None:
    values = np.random.default_rng(0).exponential(size=3000)
    (low, high) = bootstrap_interval({"x": values}, alone, seed=1)["x"]
    theirs = bootstrap((values,), np.mean, n_resamples=5000, method="percentile", rng=2).confidence_interval
    # A 90% interval would be 0.005 narrower at each end.
    assert low == pytest.approx(theirs.low, abs=0.0025)
    assert high == pytest.approx(theirs.high, abs=0.0025)


def test_values_are_resampled_together() -> None:
    """A difference of two columns that always differ by one has no spread."""
    x = np.random.default_rng(0).normal(size=50)
    interval = bootstrap_interval({"a": x, "b": x + 1}, lambda m: {"gap": m["b"] - m["a"]}, seed=0)["gap"]
    assert interval == pytest.approx((1.0, 1.0))


def test_drawing_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = pair(40, shift=0.1)
    whole = bootstrap_interval({"x": first}, alone, seed=3)["x"]
    monkeypatch.setattr(statistics, "AT_ONCE", 40 * 7)
    assert bootstrap_interval({"x": first}, alone, seed=3)["x"] == pytest.approx(whole)
    assert sum(len(block) for block in statistics._swapped_means(first[:, None], seed=0)) == statistics.SWAPS
    assert difference(first, second).p == pytest.approx(paired_p_values(np.stack([first, second], 1), seed=0)[0, 1])


def test_the_interval_of_a_difference_equals_scipys_paired_bootstrap() -> None:
    first, second = pair(2000, shift=0.05)
    ours = difference(first, second)
    theirs = bootstrap((first, second), mean_gap, paired=True, n_resamples=5000, method="percentile", rng=2)
    assert ours.value == pytest.approx(mean_gap(first, second))
    # Unpaired, the interval would be wider by 0.05 at each end.
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.002)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.002)


@pytest.mark.parametrize("shift", [0.0, 0.04, 0.1, -0.1])
def test_p_equals_scipys_permutation_test(shift: float) -> None:
    first, second = pair(300, shift=shift, seed=5)
    theirs = permutation_test(
        (first, second), mean_gap, permutation_type="samples", vectorized=True, n_resamples=9999, rng=1, batch=500
    )
    # Both are estimates from 9999 draws.
    assert difference(first, second).p == pytest.approx(theirs.pvalue, abs=0.02)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=7))
def test_p_is_the_share_of_all_swaps(pairs: list[tuple[int, int]]) -> None:
    """Values that tie often, as recalls do: a swap that gives the same sum counts."""
    first, second = np.array(pairs, dtype=float).T / 3
    sums = [abs(np.dot(signs, first - second)) for signs in product([-1, 1], repeat=len(pairs))]
    exact = float(np.mean(np.array(sums) >= abs((first - second).sum()) - 1e-9))
    assert difference(first, second).p == pytest.approx(exact, abs=0.025)  # five standard errors of 9999 draws
    if len(pairs) <= 5 and abs((first - second).sum()) > 1e-9:  # scipy allows no rounding around a gap of 0
        theirs = permutation_test((first, second), mean_gap, permutation_type="samples", vectorized=True)
        assert theirs.pvalue == pytest.approx(exact)


def test_a_score_that_is_not_linear_is_tested_by_the_same_swaps() -> None:
    """A product of two means, as no per-query values can give."""
    rng = np.random.default_rng(2)
    ours = {"r": rng.random(60) + 0.1, "v": rng.random(60) + 0.05}
    theirs = {"r": rng.random(60), "v": rng.random(60)}
    found = paired_differences(ours, theirs, lambda m: {"score": m["r"] * m["v"]}, seed=0)["score"]

    def gap(first: np.ndarray, second: np.ndarray) -> float:
        return float(first.mean(0).prod() - second.mean(0).prod())

    one, other = (np.stack([values["r"], values["v"]], axis=1) for values in (ours, theirs))
    swaps = np.random.default_rng(9).random((4000, 60, 1)) < 0.5
    seen = [gap(np.where(swap, other, one), np.where(swap, one, other)) for swap in swaps]
    assert found.value == pytest.approx(gap(one, other))
    assert found.p == pytest.approx(np.mean(np.abs(seen) >= abs(found.value)), abs=0.03)
    rows = np.random.default_rng(8).integers(60, size=(4000, 60))
    low, high = np.percentile([gap(one[row], other[row]) for row in rows], [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)


def test_equal_models_do_not_differ() -> None:
    first, _ = pair(30)
    assert difference(first, first) == Difference(0.0, 0.0, 0.0, 1.0)


def test_turning_the_two_round_changes_only_the_sign() -> None:
    first, second = pair(200, shift=0.1)
    there, back = difference(first, second), difference(second, first)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert back.p == there.p


def test_the_least_p_is_one_in_ten_thousand() -> None:
    assert difference(np.ones(100), np.zeros(100)).p == 1 / 10_000


def test_equal_models_differ_as_often_as_the_level_allows() -> None:
    rng = np.random.default_rng(0)
    found = [difference(*pair(40, seed=int(seed))).p < 0.05 for seed in rng.integers(2**31, size=200)]
    assert np.mean(found) == pytest.approx(0.05, abs=0.045)  # three standard errors


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 100))
def test_all_pairs_are_one_pair_after_another(models: int, queries: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 4, size=(queries, models)) / 4
    p = paired_p_values(values, seed=seed)
    assert np.array_equal(p, p.T)
    assert (np.diag(p) == 1).all()
    for row, column in product(range(models), repeat=2):
        assert p[row, column] == difference(values[:, row], values[:, column], seed=seed).p


def test_another_seed_draws_others() -> None:
    first, second = pair(50, shift=0.05)
    assert difference(first, second, seed=0) == difference(first, second, seed=0)
    one, other = difference(first, second, seed=0), difference(first, second, seed=1)
    assert one.p != other.p
    assert one.low != other.low


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
def test_holm_rejects_as_its_steps_say(p: dict[str, float], level: float) -> None:
    rejected = set()
    for place, name in enumerate(sorted(p, key=lambda name: p[name])):
        if (len(p) - place) * p[name] > level:
            break
        rejected.add(name)
    corrected = holm(p)
    assert {name for name in p if corrected[name] <= level} == rejected
    assert all(p[name] <= corrected[name] <= 1 for name in p)
    assert list(corrected) == list(p)
