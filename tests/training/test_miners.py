from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from pytorch_metric_learning.miners import BatchHardMiner, TripletMarginMiner
from scipy.stats import chisquare
from support import unit_rows
from torch import Tensor

from robustbench_dml.training.batches import Batch
from robustbench_dml.training.losses import MARGIN
from robustbench_dml.training.miners import (
    MINERS,
    TripletMiner,
    Triplets,
    distance_weighted_triplets,
    hardest_triplets,
    log_inverse_density,
    miner_by_name,
    random_triplets,
    semihard_triplets,
    softhard_triplets,
)
from robustbench_dml.utils.errors import RbdmlError


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
    assert miner_by_name("S") == miner_by_name("softhard")
    with pytest.raises(RbdmlError, match=r"unknown sampler 'x'.*R \(random\)"):
        miner_by_name("x")


def embeddings_of(batch: Batch, dimension: int, *, separation: float = 0.0) -> Tensor:
    """Unit vectors for a batch, its classes apart by this much."""
    noise = unit_rows(len(batch.labels), dimension, seed=4)
    return torch.nn.functional.normalize(noise + separation * torch.eye(dimension).double()[batch.labels], dim=1)


@pytest.mark.parametrize("separation", [0.0, 0.8, 30.0])
def test_semihard_equals_a_loop_and_the_library_miner(make_batch: Callable[..., Batch], separation: float) -> None:
    batch = make_batch(6)
    embeddings = embeddings_of(batch, 4, separation=separation)
    d = torch.cdist(embeddings, embeddings)
    anchors, positives, negatives = TripletMarginMiner(margin=MARGIN, type_of_triplets="semihard")(
        embeddings, batch.labels
    )
    mined = set(zip(anchors.tolist(), positives.tolist(), negatives.tolist(), strict=True))
    for anchor, count in enumerate(draw_often(lambda: semihard_triplets(embeddings, batch))):
        positive, rows = anchor + 6, range(12)
        others = [row for row in rows if batch.labels[row] != batch.labels[anchor]]
        semihard = [row for row in others if d[anchor, positive] < d[anchor, row] < d[anchor, positive] + MARGIN]
        assert set(count) == {(positive, row) for row in semihard or others}
        theirs = {triplet for triplet in mined if triplet[:2] == (anchor, positive)}
        assert {(anchor, positive, row) for row in semihard} == theirs
        if len(count) > 1:
            assert chisquare(list(count.values())).pvalue > 1e-4


def test_hardest_equals_the_library_miner(make_batch: Callable[..., Batch]) -> None:
    batch = make_batch(8)
    embeddings = embeddings_of(batch, 4)
    anchors, _, negatives = BatchHardMiner()(embeddings, batch.labels)
    theirs = dict(zip(anchors.tolist(), negatives.tolist(), strict=True))
    triplets = hardest_triplets(embeddings, batch)
    assert triplets.negative.tolist() == [theirs[anchor] for anchor in range(8)]
    assert triplets.positive.tolist() == list(range(8, 16))


@pytest.mark.parametrize("dimension", [3, 8])
def test_distance_weighted_frequencies_follow_the_closed_form(make_batch: Callable[..., Batch], dimension: int) -> None:
    batch, draws = make_batch(4), 6000
    embeddings = embeddings_of(batch, dimension)
    distances = torch.cdist(embeddings, embeddings)
    for anchor, count in enumerate(draw_often(lambda: distance_weighted_triplets(embeddings, batch), draws)):
        others = [row for row in range(8) if batch.labels[row] != batch.labels[anchor]]
        d = distances[anchor, others]
        weight = 1 / (d ** (dimension - 2) * (1 - d**2 / 4) ** ((dimension - 3) / 2))
        expected = (draws * weight / weight.sum()).tolist()
        observed = [count[anchor + 4, row] for row in others]
        assert sum(observed) == draws
        rare = [place for place, value in enumerate(expected) if value < 5]  # chi-square wants them together
        common = [place for place in range(len(others)) if place not in rare]
        if len(common) > 1:
            kept = [[values[place] for place in common] for values in (observed, expected)]
            scaled = [value * sum(kept[0]) / sum(kept[1]) for value in kept[1]]
            assert chisquare(kept[0], scaled).pvalue > 1e-4
        assert sum(observed[place] for place in rare) < 5 * len(rare) + 15


def test_the_density_is_finite_for_equal_and_opposite_vectors_in_512_dimensions() -> None:
    weights = log_inverse_density(torch.tensor([0.0, 1.0, 2.0]), 512)
    assert weights.isfinite().all()
    assert weights[0] > weights[1]


@pytest.mark.parametrize("miner", MINERS, ids=lambda miner: miner.letter)
def test_every_sampler_is_a_function_of_the_generator(make_batch: Callable[..., Batch], miner: TripletMiner) -> None:
    first, second = (miner.choose(embeddings_of(make_batch(), 6), make_batch()) for _ in range(2))
    assert torch.equal(first.rows, second.rows)
    assert (first.anchor != first.positive).all()
    batch = make_batch()
    assert torch.equal(batch.labels[first.anchor], batch.labels[first.positive])
    assert (batch.labels[first.anchor] != batch.labels[first.negative]).all()


@pytest.mark.parametrize("miner", [s for s in MINERS if s.needs_embeddings], ids=lambda miner: miner.letter)
def test_a_miner_that_needs_embeddings_refuses_none(make_batch: Callable[..., Batch], miner: TripletMiner) -> None:
    with pytest.raises(ValueError, match="needs embeddings"):
        miner.choose(None, make_batch())
