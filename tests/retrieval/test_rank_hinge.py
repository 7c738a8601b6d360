from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pretend_support import pretend_device
from support import unit_rows
from torch import Tensor

from robustbench_dml.retrieval import rank_hinge as overtaking
from robustbench_dml.retrieval.geometry import rowwise_distance
from robustbench_dml.retrieval.rank_hinge import SortedLists, mean_rank_hinge

ROWS = 11
TILES = [1, 4, ROWS - 1, ROWS, ROWS + 1, 1024]
signs = pytest.mark.parametrize("sign", [1, -1])
widths = pytest.mark.parametrize("width", [1, 2, 5])
tiles = pytest.mark.parametrize("tile", TILES)
# Their products are exact, so that equal distances are equal bit for bit; some rows come several times.
CORNERS = torch.cat([torch.eye(4), -torch.eye(4), (torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * 4))]).double()


def case(
    width: int, *, corners: bool = False, queries: int = 6, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, a gallery, and for each query its own row and `width` different targets, anywhere in the gallery."""
    rng = torch.Generator().manual_seed(seed)
    if corners:
        gallery = CORNERS[torch.randint(len(CORNERS), (ROWS,), generator=rng)]
        moved = CORNERS[torch.randint(len(CORNERS), (queries,), generator=rng)]
        moved[0] = gallery[0]
    else:
        gallery, moved = unit_rows(ROWS, 4, seed=seed), unit_rows(queries, 4, seed=seed + 1)
    rows = torch.rand(queries, ROWS, generator=rng).argsort(1)
    return moved, gallery, rows[:, 0], rows[:, 1 : 1 + width]


def dense_distances(queries: Tensor, gallery: Tensor) -> Tensor:
    """Coincident embeddings are 1e-7 apart and pull nowhere, as everywhere in this package.

    Squared distance over distance: a plain root is rounded otherwise, and then equal distances would not tie.
    """
    squared = 2 - 2 * queries @ gallery.T
    squared = torch.where(squared > 1e-14, squared, torch.full_like(squared, 1e-14))
    return squared * squared.rsqrt()


def dense(queries: Tensor, item: Tensor, gallery: Tensor, own: Tensor, targets: Tensor, sign: int) -> Tensor:
    """The definition with every number in memory, for automatic differentiation."""
    away = dense_distances(queries, gallery)
    rows = torch.arange(len(queries))
    values = []
    for target, place in zip(targets.unbind(1), item.unbind(1), strict=True):
        competes = torch.ones_like(away)
        competes[rows, own] = 0
        competes[rows, target] = 0
        values.append(((sign * (place[:, None] - away)).relu() * competes).sum(1) / (len(gallery) - 2))
    return torch.stack(values, 1).mean(1)


@signs
@widths
@tiles
@pytest.mark.parametrize("corners", [False, True], ids=["random", "tied"])
def test_value_equals_a_loop(sign: int, width: int, tile: int, corners: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overtaking, "TILE", tile)
    queries, gallery, own, targets = case(width, corners=corners)
    item = dense_distances(queries, gallery).gather(1, targets)
    expected = []
    for q, query in enumerate(queries.tolist()):
        gaps = [
            max(0.0, sign * (math.dist(query, gallery[target].tolist()) - math.dist(query, gallery[row].tolist())))
            for target in targets[q].tolist()
            for row in range(ROWS)
            if row not in (own[q], target)
        ]
        assert len(gaps) == width * (ROWS - 2)
        expected.append(sum(gaps) / len(gaps))
    found = mean_rank_hinge(queries, item, gallery, own=own, targets=targets, sign=sign)
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


@signs
@widths
@tiles
@pytest.mark.parametrize("corners", [False, True], ids=["random", "tied"])
@pytest.mark.parametrize("seed", [0, 10])
def test_gradient_equals_that_of_the_dense_definition(
    sign: int, width: int, tile: int, corners: bool, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the queries and in the items' distances, weighed differently for each query; ties pull nowhere."""
    monkeypatch.setattr(overtaking, "TILE", tile)
    queries, gallery, own, targets = case(width, corners=corners, seed=seed)
    item = dense_distances(queries, gallery).gather(1, targets).requires_grad_()
    queries.requires_grad_()
    weights = torch.arange(1.0, len(queries) + 1).double()
    found = mean_rank_hinge(queries, item, gallery, own=own, targets=targets, sign=sign)
    expected = dense(queries, item, gallery, own, targets, sign)
    for ours, theirs in zip(
        torch.autograd.grad((weights * found).sum(), (queries, item)),
        torch.autograd.grad((weights * expected).sum(), (queries, item)),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, atol=1e-12)
        assert ours.abs().sum() > 0


@signs
def test_gradient_equals_finite_differences(sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overtaking, "TILE", 4)
    queries, gallery, own, targets = case(2)
    item = dense_distances(queries, gallery).gather(1, targets).add_(0.01).requires_grad_()

    def value(queries: Tensor, item: Tensor) -> Tensor:
        return mean_rank_hinge(queries, item, gallery, own=own, targets=targets, sign=sign)

    assert torch.autograd.gradcheck(value, (queries.requires_grad_(), item), eps=1e-7, atol=1e-6)


@pytest.mark.parametrize("wanted", ["queries", "item"])
def test_only_one_of_the_two_may_have_a_gradient(wanted: str) -> None:
    queries, gallery, own, targets = case(2)
    item = dense_distances(queries, gallery).gather(1, targets)
    leaf = (queries if wanted == "queries" else item).requires_grad_()
    found = mean_rank_hinge(queries, item, gallery, own=own, targets=targets, sign=1)
    (ours,) = torch.autograd.grad(found.sum(), leaf)
    (theirs,) = torch.autograd.grad(dense(queries, item, gallery, own, targets, 1).sum(), leaf)
    assert torch.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@signs
def test_where_all_embeddings_are_equal_nothing_pulls(sign: int, dtype: torch.dtype) -> None:
    gallery = torch.eye(4, dtype=dtype)[:1].repeat(ROWS, 1)
    queries = gallery[:3].clone().requires_grad_()
    own, targets = torch.tensor([0, 1, 2]), torch.tensor([[5], [6], [0]])
    item = rowwise_distance(queries[:, None], gallery[targets])
    value = mean_rank_hinge(queries, item, gallery, own=own, targets=targets, sign=sign)
    (gradient,) = torch.autograd.grad(value.sum(), queries)
    assert torch.equal(value, torch.zeros_like(value))
    assert torch.equal(gradient, torch.zeros_like(gradient))


@signs
def test_coincident_embeddings_in_float32_have_finite_gradients(sign: int) -> None:
    gallery = unit_rows(40, 16, seed=0).float()
    queries = gallery[:20].clone().requires_grad_()
    own = torch.arange(20) + 20
    targets = ((torch.arange(20) + 1) % 20)[:, None]
    item = rowwise_distance(queries[:, None], gallery[targets])
    (gradient,) = torch.autograd.grad(
        mean_rank_hinge(queries, item, gallery, own=own, targets=targets, sign=sign).sum(), queries
    )
    assert gradient.isfinite().all()


def lists_of(moved: Tensor, gallery: Tensor, own: Tensor, targets: Tensor) -> tuple[SortedLists, Tensor]:
    """The lists of all targets, and the row of each item's lists among them."""
    skipped = torch.stack([own[:, None].expand_as(targets), targets], 2).flatten(0, 1)
    lists = SortedLists(gallery[targets].flatten(0, 1), gallery, skipped)
    return lists, torch.arange(targets.numel()).view_as(targets)


@signs
@widths
@pytest.mark.parametrize(("table", "at_once"), [(2**27, 2**24), (2**27, 1), (2**27, 4 * ROWS), (6 * ROWS - 1, 2**24)])
@pytest.mark.parametrize("corners", [False, True], ids=["random", "tied"])
def test_sorted_lists_equal_a_scan(
    sign: int, width: int, table: int, at_once: int, corners: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items may be taken several times and in any order."""
    monkeypatch.setattr(overtaking, "TABLE", table)
    monkeypatch.setattr(overtaking, "TILE", 4)
    monkeypatch.setattr(overtaking, "SORTED", at_once)
    moved, gallery, own, targets = case(width, corners=corners)
    lists, rows = lists_of(moved, gallery, own, targets)
    assert (lists._table is None) == (table < 6 * width * ROWS)
    for taken in (torch.arange(6), torch.tensor([4, 1, 1, 5]), torch.tensor([2])):
        distances = rowwise_distance(moved[taken, None], gallery[targets[taken]])
        item, leaf = (distances.clone().requires_grad_() for _ in range(2))
        found = lists.mean_rank_hinge(item, rows[taken], sign=sign)
        expected = torch.stack(
            [
                mean_rank_hinge(
                    gallery[targets[taken, k]],
                    leaf[:, k, None],
                    gallery,
                    own=own[taken],
                    targets=targets[taken, k, None],
                    sign=sign,
                )
                for k in range(width)
            ]
        ).mean(0)
        assert torch.allclose(found, expected, atol=1e-12)
        if not corners:
            (ours,) = torch.autograd.grad(found.sum(), item)
            (theirs,) = torch.autograd.grad(expected.sum(), leaf)
            assert torch.allclose(ours, theirs, atol=1e-12)
            assert ours.abs().sum() > 0


@signs
def test_at_a_tie_the_slope_of_sorted_lists_is_between_those_on_either_side(sign: int) -> None:
    moved, gallery, own, targets = case(2, corners=True)
    lists, rows = lists_of(moved, gallery, own, targets)
    exact = rowwise_distance(moved[:, None], gallery[targets])
    below, at, above = (
        torch.autograd.grad(lists.mean_rank_hinge(item, rows, sign=sign).sum(), item)[0]
        for item in ((exact + step).requires_grad_() for step in (-1e-3, 0, 1e-3))
    )
    assert ((below <= at + 1e-12) & (at <= above + 1e-12)).all()
    assert (below < above - 1e-3).any()


@signs
def test_sorted_lists_of_a_large_gallery_keep_float32s_precision(sign: int) -> None:
    gallery = unit_rows(3000, 8, seed=0)
    moved, targets, own = unit_rows(5, 8, seed=1), torch.arange(5)[:, None], torch.arange(5, 10)
    values = []
    for x, y in ((gallery, moved), (gallery.float(), moved.float())):
        lists, rows = lists_of(y, x, own, targets)
        values.append(lists.mean_rank_hinge(rowwise_distance(y[:, None], x[targets]), rows, sign=sign).double())
    assert torch.allclose(*values, atol=1e-6)  # type: ignore[arg-type, misc]


@given(st.data())
def test_bisect_equals_numpys_search(data: st.DataObject) -> None:
    numbers = st.integers(-4, 4).map(lambda n: n / 2)
    rows, columns = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 17))
    table = [sorted(data.draw(st.lists(numbers, min_size=columns, max_size=columns))) for _ in range(rows)]
    looked_up = data.draw(st.lists(st.tuples(st.integers(0, rows - 1), numbers), min_size=1, max_size=8))
    expected = [int(np.searchsorted(table[row], value)) for row, value in looked_up]
    where, values = (torch.tensor(column) for column in zip(*looked_up, strict=True))
    found = overtaking._bisect(torch.tensor(table), where[:, None], values[:, None])
    assert found.tolist() == [[place] for place in expected]


ROWS_OF_SOP, MOST = 60_502, {1: 45, 10: 200}  # test images, and the most launches of a step by the number of targets


@signs
@pytest.mark.parametrize("width", MOST)
def test_a_step_launches_few_kernels_on_a_gpu(sign: int, width: int) -> None:
    """A kernel takes some microseconds to launch, however small it is. Tiles of 1,024 rows launched thousands."""
    gallery = unit_rows(ROWS_OF_SOP, 4, seed=0).float()
    queries, own, targets = gallery[:3] * 1.0, torch.arange(3), torch.arange(3 * width).view(3, width) + 5
    item = rowwise_distance(queries[:, None], gallery[targets])
    here = mean_rank_hinge(queries.requires_grad_(), item, gallery, own=own, targets=targets, sign=sign)
    (pull,) = torch.autograd.grad(here.sum(), queries)
    with pretend_device() as device:
        there = [one.detach().to("cuda") for one in (queries, item, gallery, own, targets)]
        device.launches = 0
        moved = there[0].requires_grad_()
        value = mean_rank_hinge(moved, there[1], there[2], own=there[3], targets=there[4], sign=sign)
        (slope,) = torch.autograd.grad(value.sum(), moved)
        assert 0 < device.launches <= MOST[width]
        torch.testing.assert_close(value.cpu(), here, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(slope.cpu(), pull, rtol=1e-4, atol=1e-6)


def test_tiles_fit_the_memory() -> None:
    with pretend_device():
        queries = torch.empty(8192, 2, device="cuda")
        assert overtaking.tile_rows(queries) * len(queries) == overtaking.SCRATCH
        assert overtaking.tile_rows(torch.empty(2**20, 2, device="cuda")) == overtaking.TILE
    assert overtaking.tile_rows(torch.empty(1, 2)) == overtaking.TILE
