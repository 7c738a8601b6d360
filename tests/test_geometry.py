from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from torch import Tensor
from torch.nn import functional as F

from robustbench_dml import geometry


def unit(rows: int, dimension: int = 5, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(rows, dimension, generator=torch.Generator().manual_seed(seed)).double(), dim=1)


def test_pairwise_distance_equals_scipy() -> None:
    a, b = unit(7), unit(9, seed=1)
    assert np.allclose(geometry.pairwise_distance(a, b).numpy(), cdist(a.numpy(), b.numpy()), atol=1e-7)


def test_triplet_loss_equals_the_library_one() -> None:
    a, p, n = unit(20), unit(20, seed=1), unit(20, seed=2)
    expected = F.triplet_margin_loss(a, p, n, margin=0.2, eps=0)
    assert math.isclose(geometry.triplet_loss(a, p, n, margin=0.2).item(), expected.item(), abs_tol=1e-12)


def test_triplet_loss_takes_margin_zero() -> None:
    a, p, n = unit(20), unit(20, seed=1), unit(20, seed=2)
    naive = [max(0.0, math.dist(x, y) - math.dist(x, z)) for x, y, z in zip(a, p, n, strict=True)]
    assert math.isclose(geometry.triplet_loss(a, p, n, margin=0.0).item(), sum(naive) / 20, abs_tol=1e-12)


def test_distances_have_finite_gradients_at_zero() -> None:
    x = unit(3).requires_grad_()
    (gradient,) = torch.autograd.grad(geometry.distance(x, x.detach()).sum(), x)
    assert torch.equal(gradient, torch.zeros_like(x))
    (gradient,) = torch.autograd.grad(geometry.pairwise_distance(x, x.detach()).sum(), x)
    assert gradient.isfinite().all()


def test_shift_has_a_gradient_at_zero_and_is_the_distance_elsewhere() -> None:
    origin = unit(4)
    still = origin.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(geometry.shift(still, origin).sum(), still)
    assert (gradient.abs() > 0).all()
    moved = unit(4, seed=3)
    assert torch.equal(geometry.shift(moved, origin), geometry.distance(moved, origin))


def test_order_keys_rise_with_distance_and_tie_for_equal_rows() -> None:
    gallery = unit(50)
    gallery[10] = gallery[3]
    queries = unit(6, seed=1)
    keys = geometry.order_keys(queries, gallery).numpy()
    distances = cdist(queries.numpy(), gallery.numpy())
    assert (keys[:, 10] == keys[:, 3]).all()
    assert (np.argsort(keys, axis=1, kind="stable") == np.argsort(distances.round(8), axis=1, kind="stable")).all()
    assert (geometry.order_keys_rowwise(queries, gallery[:6]).numpy() == np.diagonal(keys[:, :6])).all()


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=12),
    st.integers(0, 5),
    st.data(),
)
def test_share_ahead_equals_a_loop(others: list[int], item: int, data: st.DataObject) -> None:
    competing = data.draw(st.lists(st.booleans(), min_size=len(others), max_size=len(others)))
    competing[0] = True
    ahead = sum(
        1.0 if other < item else 0.5 if other == item else 0.0
        for other, counts in zip(others, competing, strict=True)
        if counts
    )
    result = geometry.share_ahead(torch.tensor(item), torch.tensor(others), torch.tensor(competing))
    assert math.isclose(result.item(), ahead / sum(competing))


@given(st.lists(st.integers(0, 3), min_size=3, max_size=10))
def test_nearest_breaks_ties_by_column(keys: list[int]) -> None:
    expected = sorted(range(len(keys)), key=lambda column: (keys[column], column))[:3]
    assert geometry.nearest(torch.tensor([keys]), 3).tolist() == [expected]
