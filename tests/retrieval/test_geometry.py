from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from torch import Tensor
from torch.nn import functional as F

from robustbench_dml.retrieval import geometry
from robustbench_dml.training import losses


def unit(rows: int, dimension: int = 5, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(rows, dimension, generator=torch.Generator().manual_seed(seed)).double(), dim=1)


def test_pairwise_distance_equals_scipy() -> None:
    a, b = unit(7), unit(9, seed=1)
    assert np.allclose(geometry.pairwise_distance(a, b).numpy(), cdist(a.numpy(), b.numpy()), atol=1e-7)


def test_triplet_loss_equals_the_library_one() -> None:
    a, p, n = unit(20), unit(20, seed=1), unit(20, seed=2)
    expected = F.triplet_margin_loss(a, p, n, margin=0.2, eps=0)
    assert math.isclose(losses.triplet_loss(a, p, n, margin=0.2).item(), expected.item(), abs_tol=1e-12)


def test_triplet_loss_takes_margin_zero() -> None:
    a, p, n = unit(20), unit(20, seed=1), unit(20, seed=2)
    naive = [max(0.0, math.dist(x, y) - math.dist(x, z)) for x, y, z in zip(a, p, n, strict=True)]
    assert math.isclose(losses.triplet_loss(a, p, n, margin=0.0).item(), sum(naive) / 20, abs_tol=1e-12)


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


@given(st.data())
def test_tied_share_equals_a_loop(data: st.DataObject) -> None:
    """Few distinct keys give ties; each item skips other columns."""
    rows, width, columns = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(2, 9)))
    left_out = data.draw(st.integers(0, min(2, columns - 1)))
    key = st.integers(0, 4)
    keys = data.draw(st.lists(st.lists(key, min_size=columns, max_size=columns), min_size=rows, max_size=rows))
    items = data.draw(st.lists(st.lists(key, min_size=width, max_size=width), min_size=rows, max_size=rows))
    places = st.lists(st.integers(0, columns - 1), min_size=left_out, max_size=left_out, unique=True)
    skipped = [[data.draw(places) for _ in range(width)] for _ in range(rows)]

    def share(item: int, row: list[int], without: list[int]) -> float:
        others = [other for column, other in enumerate(row) if column not in without]
        return sum(1.0 if other < item else 0.5 if other == item else 0.0 for other in others) / len(others)

    expected = [
        [share(item, row, out) for item, out in zip(of_row, outs, strict=True)]
        for of_row, row, outs in zip(items, keys, skipped, strict=True)
    ]
    columns_out = torch.tensor(skipped, dtype=torch.long).view(rows, width, left_out)
    result = geometry.tied_share(torch.tensor(items), torch.tensor(keys), columns_out)
    assert np.allclose(result.numpy(), expected, atol=1e-12)


def test_rowwise_distance_is_the_pairwise_one_of_matching_rows() -> None:
    a, b = unit(6), unit(6, seed=1)
    b[2] = a[2]
    pairs = geometry.pairwise_distance(a, b).diagonal()
    assert np.allclose(geometry.rowwise_distance(a, b).numpy(), pairs.numpy(), atol=1e-7)
    grid = geometry.rowwise_distance(a[:, None], b.expand(6, 6, 5))
    assert np.allclose(grid.numpy(), cdist(a.numpy(), b.numpy()), atol=1e-7)


@given(st.lists(st.integers(0, 3), min_size=3, max_size=10))
def test_nearest_breaks_ties_by_column(keys: list[int]) -> None:
    expected = sorted(range(len(keys)), key=lambda column: (keys[column], column))[:3]
    assert geometry.nearest(torch.tensor([keys]), 3).tolist() == [expected]
