from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from robustbench_dml.randomness import generator, seed_of, uniform_per_item


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
