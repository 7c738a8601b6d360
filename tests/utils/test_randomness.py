from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from robustbench_dml.utils.randomness import Key, generator, normal_of, seed_of, uniform_per_item


def splitmix(x: int) -> int:
    """One number of SplitMix64 in unbounded integers."""
    x = (x + 0x9E3779B97F4A7C15) % 2**64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
    return x ^ (x >> 31)


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=5), st.integers(0, 2**40), st.integers(0, 2**20))
def test_draws_are_those_of_the_generator(items: list[int], first: int, key: int) -> None:
    found = uniform_per_item(torch.tensor(items), 4, key=(key,), first=first)
    for item, row in zip(items, found.tolist(), strict=True):
        for draw, value in enumerate(row, start=first):
            state = (seed_of(key) + splitmix(item) + draw) % 2**64
            assert value == (splitmix(splitmix(state)) >> 11) * 2.0**-53


def test_draws_are_those_of_numpy() -> None:
    def mix(x: np.ndarray) -> np.ndarray:
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))

    for seed in range(20):  # seeds with and without the highest bits
        key: tuple[Key, ...] = (seed, "numpy")
        items = torch.randint(2**40, (50,), generator=torch.Generator().manual_seed(seed))
        state = (
            np.uint64(seed_of(*key)) + mix(items.numpy().astype(np.uint64))[:, None] + np.arange(30, dtype=np.uint64)
        )
        expected = (mix(mix(state)) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        assert np.array_equal(uniform_per_item(items, 30, key=key).numpy(), expected)


def test_a_row_may_be_drawn_in_parts() -> None:
    items = torch.arange(6)
    whole = uniform_per_item(items, 10, key=("parts",))
    parts = [uniform_per_item(items, n, key=("parts",), first=first) for first, n in ((0, 3), (3, 1), (4, 6))]
    assert torch.equal(torch.cat(parts, dim=1), whole)


def test_normal_numbers_are_normal_and_finite() -> None:
    uniform = uniform_per_item(torch.arange(2000), 3, key=("normal",))
    assert kstest(normal_of(uniform).numpy().ravel(), "norm").pvalue > 1e-3
    for dtype in (torch.float32, torch.float64):
        ends = torch.tensor([0.0, 1 - torch.finfo(dtype).eps / 2], dtype=dtype)
        low, high = normal_of(ends).tolist()
        assert -10 < low < -5 and 5 < high < 10


@given(st.permutations(range(20)), st.integers(1, 20))
def test_an_items_draws_do_not_depend_on_the_others(order: list[int], part: int) -> None:
    whole = uniform_per_item(torch.arange(20), 3, key=(1, "x"))
    items = torch.tensor(order[:part])
    assert torch.equal(uniform_per_item(items, 3, key=(1, "x")), whole[items])


def test_more_draws_begin_with_the_same_ones() -> None:
    items = torch.arange(5)
    assert torch.equal(uniform_per_item(items, 7, key=("a",))[:, :3], uniform_per_item(items, 3, key=("a",)))


def test_draws_are_uniform_and_differ_between_keys_items_and_draws() -> None:
    draws = uniform_per_item(torch.arange(5000), 4, key=(0, "test")).numpy()
    assert kstest(draws.ravel(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(draws.T) - np.eye(4)).max() < 0.06
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.06
    other = uniform_per_item(torch.arange(5000), 4, key=(1, "test")).numpy()
    assert abs(np.corrcoef(draws[:, 0], other[:, 0])[0, 1]) < 0.06


def test_seeds_tell_keys_apart() -> None:
    assert len({seed_of(0, "a"), seed_of(0, "b"), seed_of(1, "a"), seed_of("0", "a"), seed_of(0, "a", 0)}) == 5


def test_generators_of_one_key_agree() -> None:
    assert torch.equal(torch.rand(4, generator=generator(3, "k")), torch.rand(4, generator=generator(3, "k")))
