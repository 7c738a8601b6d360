from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from robustbench_dml.training.batches import PairSampler
from robustbench_dml.utils.errors import RbdmlError

labels_of_classes = st.lists(st.integers(1, 5), min_size=2, max_size=6).map(
    lambda sizes: torch.repeat_interleave(torch.arange(len(sizes)) * 7, torch.tensor(sizes))
)


@given(labels_of_classes, st.integers(0, 3), st.integers(1, 3))
def test_pairs_are_two_images_of_a_class_and_an_epoch_is_a_permutation(labels: Tensor, seed: int, pairs: int) -> None:
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    size = Counter(labels.tolist())
    with_partner = sum(count for count in size.values() if count >= 2)
    if with_partner < pairs:
        with pytest.raises(RbdmlError, match="smaller --pairs"):
            PairSampler(labels, pairs=pairs, seed=seed)
        return
    stream = PairSampler(labels, pairs=pairs, seed=seed)
    assert stream.iterations_per_epoch == with_partner // pairs
    anchors = []
    for iteration in range(stream.iterations_per_epoch):
        rows = stream.indices(iteration)
        first, second = rows[:pairs], rows[pairs:]
        assert (labels[first] == labels[second]).all()
        assert (first != second).all()
        anchors += first.tolist()
    assert len(set(anchors)) == len(anchors)


def test_pairs_are_a_function_of_seed_and_iteration() -> None:
    labels = torch.arange(40) % 4
    stream, again = PairSampler(labels, pairs=6, seed=1), PairSampler(labels, pairs=6, seed=1)
    forward = [stream.indices(iteration) for iteration in range(14)]
    backward = [again.indices(iteration) for iteration in reversed(range(14))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert not torch.equal(forward[0], PairSampler(labels, pairs=6, seed=2).indices(0))


def test_partners_are_uniform_over_the_rest_of_the_class() -> None:
    stream = PairSampler(torch.arange(12) % 2, pairs=12, seed=0)
    pairs = Counter()  # type: ignore[var-annotated]
    for iteration in range(1500):
        rows = stream.indices(iteration).tolist()
        pairs.update(zip(rows[:12], rows[12:], strict=True))
    assert len(pairs) == 12 * 5
    assert chisquare(list(pairs.values())).pvalue > 1e-3


def test_one_class_is_refused() -> None:
    with pytest.raises(RbdmlError, match="one class only"):
        PairSampler(torch.zeros(10, dtype=torch.long), pairs=2, seed=0)
