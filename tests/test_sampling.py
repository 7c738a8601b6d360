from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from robustbench_dml.errors import RbdmlError
from robustbench_dml.sampling import Batch, PairStream, Triplets, random_triplets, sampler_by_name, softhard_triplets

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
            PairStream(labels, pairs=pairs, seed=seed)
        return
    stream = PairStream(labels, pairs=pairs, seed=seed)
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
    stream, again = PairStream(labels, pairs=6, seed=1), PairStream(labels, pairs=6, seed=1)
    forward = [stream.indices(iteration) for iteration in range(14)]
    backward = [again.indices(iteration) for iteration in reversed(range(14))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert not torch.equal(forward[0], PairStream(labels, pairs=6, seed=2).indices(0))


def test_partners_are_uniform_over_the_rest_of_the_class() -> None:
    stream = PairStream(torch.arange(12) % 2, pairs=12, seed=0)
    pairs = Counter()  # type: ignore[var-annotated]
    for iteration in range(1500):
        rows = stream.indices(iteration).tolist()
        pairs.update(zip(rows[:12], rows[12:], strict=True))
    assert len(pairs) == 12 * 5
    assert chisquare(list(pairs.values())).pvalue > 1e-3


def test_one_class_is_refused() -> None:
    with pytest.raises(RbdmlError, match="one class only"):
        PairStream(torch.zeros(10, dtype=torch.long), pairs=2, seed=0)


def draw_often(choose: Callable[[], Triplets], times: int = 3000) -> list[Counter[tuple[int, int]]]:
    """For each anchor, how often each (positive, negative) was chosen."""
    counts: list[Counter[tuple[int, int]]] = []
    for _ in range(times):
        triplets = choose()
        if not counts:
            counts = [Counter() for _ in triplets.anchor]
        for count, positive, negative in zip(
            counts, triplets.positive.tolist(), triplets.negative.tolist(), strict=True
        ):
            count[positive, negative] += 1
    return counts


def test_random_is_uniform_over_the_other_classes(make_batch: Callable[..., Batch]) -> None:
    batch = make_batch(5)
    for anchor, count in enumerate(draw_often(lambda: random_triplets(None, batch))):
        negatives = [row for row in range(10) if batch.labels[row] != batch.labels[anchor]]
        assert set(count) == {(anchor + 5, negative) for negative in negatives}
        assert chisquare([count[anchor + 5, negative] for negative in negatives]).pvalue > 1e-4


def naive_softhard(d: Tensor, batch: Batch, anchor: int) -> set[tuple[int, int]]:
    rows = range(len(batch.labels))
    same = [r for r in rows if batch.labels[r] == batch.labels[anchor] and batch.indices[r] != batch.indices[anchor]]
    other = [r for r in rows if batch.labels[r] != batch.labels[anchor]]
    farthest_same = max(d[anchor, r] for r in same)
    nearest_other = min(d[anchor, r] for r in other)
    negatives = [r for r in other if d[anchor, r] < farthest_same] or other
    positives = [r for r in same if d[anchor, r] > nearest_other] or same
    return {(p, n) for p in positives for n in negatives}


@pytest.mark.parametrize("separation", [0.0, 0.6, 30.0])
def test_softhard_equals_a_loop_with_and_without_fallback(make_batch: Callable[..., Batch], separation: float) -> None:
    batch = make_batch(5)
    rng = torch.Generator().manual_seed(4)
    features = torch.randn(10, 3, generator=rng).double() + separation * torch.eye(3).double()[batch.labels]
    embeddings = torch.nn.functional.normalize(features, dim=1)
    d = torch.cdist(embeddings, embeddings)
    for anchor, count in enumerate(draw_often(lambda: softhard_triplets(embeddings, batch))):
        allowed = naive_softhard(d, batch, anchor)
        assert set(count) == allowed
        if len(allowed) > 1:
            assert chisquare([count[pair] for pair in sorted(allowed)]).pvalue > 1e-4


def test_softhard_takes_no_other_row_of_the_same_image_as_positive(make_batch: Callable[..., Batch]) -> None:
    batch = make_batch(4)
    batch.indices[7] = batch.indices[0]  # labels 0 1 2 0 twice: row 7 shows anchor 0's image again
    embeddings = torch.nn.functional.normalize(torch.randn(8, 3, generator=batch.rng).double(), dim=1)
    counts = draw_often(lambda: softhard_triplets(embeddings, batch), 200)
    assert 7 not in {positive for positive, _ in counts[0]}


def test_a_batch_of_one_class_is_refused(make_batch: Callable[..., Batch]) -> None:
    batch = make_batch(4)
    batch.labels.zero_()
    with pytest.raises(RbdmlError, match="larger --pairs"):
        random_triplets(None, batch)


def test_samplers_go_by_letter_and_name() -> None:
    assert sampler_by_name("S") == sampler_by_name("softhard")
    with pytest.raises(RbdmlError, match=r"unknown sampler 'x'.*R \(random\)"):
        sampler_by_name("x")
