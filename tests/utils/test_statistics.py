from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, f_oneway, permutation_test, ttest_1samp

from robustbench_dml.utils import statistics
from robustbench_dml.utils.statistics import (
    Difference,
    Means,
    Variance,
    bootstrap_interval,
    holm,
    paired_differences,
    pooled_variance,
    pseudo_values,
    shared_covariance,
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
    first, _ = pair(40, shift=0.1)
    whole = bootstrap_interval({"x": first}, alone, seed=3)["x"]
    monkeypatch.setattr(statistics, "AT_ONCE", 40 * 7)
    assert bootstrap_interval({"x": first}, alone, seed=3)["x"] == pytest.approx(whole)
    assert sum(len(block) for block in statistics._swapped_means(first[:, None], seed=0)) == statistics.SWAPS


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


def test_variances_add_as_satterthwaite_says() -> None:
    assert Variance(2.0, 3) + Variance(0.0, 0) == Variance(0.0, 0) + Variance(2.0, 3) == Variance(2.0, 3)
    total = Variance(2.0, 4) + Variance(2.0, 4)
    assert (total.amount, total.freedom) == (4.0, 8.0)


def test_a_variance_gives_the_t_test_of_scipy() -> None:
    values = np.random.default_rng(0).normal(0.4, 1, size=7)
    theirs, ours = ttest_1samp(values, 0), Variance(values.var(ddof=1) / 7, 6)
    low, high = theirs.confidence_interval()
    assert ours.half_width() == pytest.approx((high - low) / 2)
    assert ours.probability_above(values.mean()) == pytest.approx(1 - theirs.pvalue / 2)
    assert [Variance(0.0, 0).probability_above(value) for value in (-1, 0, 1)] == [0, 0.5, 1]


def test_the_pooled_variance_is_that_within_groups_of_an_analysis_of_variance() -> None:
    groups = [[1.0, 2.0, 4.0], [5.0, 5.5], [9.0, 7.0, 8.5, 6.0], [3.0]]
    pooled = pooled_variance(groups)
    many = groups[:3]
    everything = np.concatenate(many)
    between = sum(len(group) * (np.mean(group) - everything.mean()) ** 2 for group in many) / 2
    assert pooled.freedom == 6
    assert between / pooled.amount == pytest.approx(f_oneway(*many).statistic)
    assert pooled_variance([[1.0], [2.0]]) == Variance(0.0, 0)


def test_the_shared_covariance_is_that_of_two_seeds() -> None:
    """Against a loop over the pairs of seeds of each model."""
    rng = np.random.default_rng(0)
    models = [rng.normal(size=50) + rng.normal(size=(seeds, 50)) for seeds in (3, 2, 1)]
    found = shared_covariance(models)
    for i, one in enumerate(models):
        for j, other in enumerate(models):
            pairs = [(a, b) for a in range(len(one)) for b in range(len(other)) if i != j or a != b or len(one) == 1]
            mean = np.mean([np.cov(one[a], other[b])[0, 1] for a, b in pairs])
            assert found[i, j] == pytest.approx(mean / 50)


@pytest.mark.parametrize("seeds", [(3, 3, 3, 3), (1, 2, 3, 5)])
def test_intervals_over_seeds_and_queries_cover_the_truth(seeds: tuple[int, ...]) -> None:
    """Effects of seeds, of queries and of both together, with a known truth of 0; a difference of two rows, too."""
    rng, trials, queries = np.random.default_rng(3), 1500, 40
    covered = []
    for _ in range(trials):
        shared = rng.normal(0, 2, size=queries)  # a hard query is hard for every defense
        models = [
            rng.normal(0, 0.4, size=(count, 1))
            + shared
            + rng.normal(0, 1, size=queries)
            + rng.normal(0, 1.5, size=(count, queries))
            for count in seeds
        ]
        pooled, covariance = pooled_variance([model.mean(1) for model in models]), shared_covariance(models)
        one, other = 2, 3
        mean = Variance(pooled.amount / seeds[one], pooled.freedom) + Variance(covariance[one, one], queries - 1)
        gap = covariance[one, one] + covariance[other, other] - 2 * covariance[one, other]
        both = Variance(pooled.amount * (1 / seeds[one] + 1 / seeds[other]), pooled.freedom)
        both += Variance(max(0.0, gap), queries - 1)
        covered.append(
            [
                abs(models[one].mean()) <= mean.half_width(),
                abs(models[one].mean() - models[other].mean()) <= both.half_width(),
            ]
        )
    error = 3 * (0.95 * 0.05 / trials) ** 0.5
    assert np.mean(covered, axis=0) == pytest.approx([0.95, 0.95], abs=error)


def test_pseudo_values_of_a_mean_are_its_values() -> None:
    values = {"a": np.random.default_rng(0).normal(size=30)}
    assert pseudo_values(values, lambda means: {"a": 100 * means["a"]})["a"] == pytest.approx(100 * values["a"])


def test_pseudo_values_have_the_variance_of_products_and_medians() -> None:
    """Against the bootstrap."""
    rng = np.random.default_rng(0)
    values = {"a": rng.exponential(size=2000), "b": rng.exponential(size=2000) + 1, "m": rng.normal(1, 1, 2000).clip(0)}

    def summary(means: Means) -> Means:
        return {"product": means["a"] * means["b"], "m": 255 * means["m"]}

    found = pseudo_values(values, summary, medians=["m"])
    ends = bootstrap_interval(values, summary, seed=0, medians=["m"])
    for name, (low, high) in ends.items():
        half = Variance(found[name].var(ddof=1) / 2000, 1999).half_width()
        assert half == pytest.approx((high - low) / 2, rel=0.08)


def test_one_pair_of_seeds_says_nothing_of_their_variance() -> None:
    assert pooled_variance([[1.0, 3.0], [5.0]]) == Variance(0.0, 0)
    assert pooled_variance([[1.0, 3.0], [5.0, 5.0]]) == Variance(1.0, 2)
