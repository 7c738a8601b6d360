from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from robustbench_dml.batches import Batch
from robustbench_dml.errors import RbdmlError
from robustbench_dml.samplers import Triplets, random_triplets, sampler_by_name, softhard_triplets


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
