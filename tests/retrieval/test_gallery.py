from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import unit_rows
from torch import Tensor

from robustbench_dml.retrieval import gallery as module
from robustbench_dml.retrieval.gallery import Block, Gallery, Items, in_chunks
from robustbench_dml.retrieval.geometry import order_keys

ROWS = 37
LABELS = torch.arange(ROWS) % 4
SOME = torch.tensor([5, 0, 36, 5, 17])  # in any order, one of them twice
CORNERS = torch.cat([torch.eye(2), -torch.eye(2)]).double()  # few directions: nearly everything ties


def tied() -> Tensor:
    embeddings = unit_rows(ROWS, 4, seed=0)
    embeddings[20:30] = embeddings[:10].clone()
    return embeddings


def order(embeddings: Tensor, row: int) -> list[int]:
    """All other rows, nearest first by a stable sort."""
    cosines = (embeddings @ embeddings[row]).mul(1e8).round()
    return [other for other in cosines.argsort(stable=True, descending=True).tolist() if other != row]


@pytest.mark.parametrize("tile", [1, 10, ROWS, 1024])
@pytest.mark.parametrize("kept", [0, module.KEPT])
def test_keys_in_tiles_are_those_of_one_product(tile: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TILE", tile)
    monkeypatch.setattr(module, "KEPT", kept)
    embeddings, queries = tied().float(), unit_rows(6, 4, seed=1).float()
    assert torch.equal(Gallery(embeddings, LABELS).keys(queries), order_keys(queries, embeddings))


@pytest.mark.parametrize("embeddings", [unit_rows(ROWS, 4, seed=1), tied()], ids=["random", "tied"])
@pytest.mark.parametrize("chunk", [1, 2 * ROWS + 1, 2**25])
def test_neighbours_equal_a_full_stable_sort(embeddings: Tensor, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    items = Items(Gallery(embeddings, LABELS), SOME)
    assert items.nearest.shape == (5, 10)  # more than 1% of so few
    for place, row in enumerate(SOME.tolist()):
        expected = order(embeddings, row)
        assert items.nearest[place].tolist() == expected[:10]
        assert items.nearest_wrong[place].tolist() == [next(r for r in expected if LABELS[r] != LABELS[row])]


@pytest.mark.parametrize(
    ("rows", "percent", "kept"), [(4, 1, 3), (11, 1, 10), (150, 1, 10), (151, 2, 10), (1501, 15, 15)]
)
def test_one_percent_of_the_others(rows: int, percent: int, kept: int) -> None:
    items = Items(Gallery(unit_rows(rows, 3, seed=0), torch.zeros(rows, dtype=torch.long)), torch.tensor([1]))
    assert items.percent == percent
    assert items.nearest.tolist() == [order(items.gallery.embeddings, 1)[:kept]]


def test_the_nearest_of_equal_embeddings_are_the_first_other_rows() -> None:
    items = Items(Gallery(torch.eye(4).double()[:1].repeat(15, 1), torch.arange(15) % 2), torch.tensor([0, 3]))
    assert items.nearest.tolist() == [list(range(1, 11)), [0, 1, 2, *range(4, 11)]]
    assert items.nearest_wrong.tolist() == [[1], [0]]


@given(st.data())
def test_ranks_equal_a_loop(data: st.DataObject) -> None:
    """Few directions, so that most items tie: every rank is a share of smaller and, by half, of equal cosines."""
    n, width = data.draw(st.integers(4, 9)), data.draw(st.integers(1, 3))
    corner = st.integers(0, 3)
    places = data.draw(st.lists(corner, min_size=n, max_size=n))
    rows = data.draw(st.lists(st.permutations(range(n)), min_size=1, max_size=4))
    moved = data.draw(st.lists(corner, min_size=len(rows), max_size=len(rows)))
    labels = data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    x, y = CORNERS[places], CORNERS[moved]
    block = Block(
        Gallery(x, torch.tensor(labels)),
        torch.tensor([row[0] for row in rows]),
        torch.tensor([row[1 : 1 + width] for row in rows]),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", data.draw(st.sampled_from([1, 2 * n, 2**25])))
        found = block.rank_of_item(y), block.rank_of_target(y), block.position_of_target(y), block.recall_at_1(y)
    for i, (own, *rest) in enumerate(rows):
        for k, target in enumerate(rest[:width]):
            others = [row for row in range(n) if row not in (own, target)]
            to_item, to_target = float(x[target] @ y[i]), float(y[i] @ x[target])
            of_target, of_item = [[float(a @ x[row]) for row in others] for a in (x[target], y[i])]
            assert found[0][i, k] == pytest.approx(share(to_item, of_target))
            assert found[1][i, k] == pytest.approx(share(to_target, of_item))
            before = [c > to_target or (c == to_target and r < target) for c, r in zip(of_item, others, strict=True)]
            assert found[2][i, k] == sum(before)
        first = min((row for row in range(n) if row != own), key=lambda row: (-float(y[i] @ x[row]), row))
        assert found[3][i] == float(labels[first] == labels[own])


def share(item: float, others: list[float]) -> float:
    return sum(1.0 if other > item else 0.5 if other == item else 0.0 for other in others) / len(others)


def some_block() -> Block:
    gallery = Gallery(tied(), LABELS)
    return Block(gallery, torch.tensor([3, 9, 14, 30]), torch.tensor([[1, 2], [4, 0], [36, 3], [29, 11]]))


def test_a_block_knows_embeddings_and_labels_of_its_images() -> None:
    block = some_block()
    embeddings = unit_rows(4, 4, seed=5)
    for i in range(len(block)):
        assert torch.equal(block.benign[i], tied()[block.items[i]])
        assert block.labels[i] == LABELS[block.items[i]]
        for k in range(2):
            target = tied()[block.targets[i, k]]
            assert torch.equal(block.target_embeddings[i, k], target)
            away = float((embeddings[i] - target).norm())
            assert block.distance_to_targets(embeddings)[i, k].item() == pytest.approx(away)
            assert block.distance_to(embeddings, block.targets)[i, k].item() == pytest.approx(away)


def test_parts_of_a_block_share_its_lists() -> None:
    """Lists are sorted once, for any part of the block."""
    block = some_block()
    part = block.take(torch.tensor([2, 0, 0]))
    again = part.take(torch.tensor([2, 0]))
    assert again.items.tolist() == [3, 14]
    assert again.targets.tolist() == [[1, 2], [36, 3]]
    assert part.target_lists is again.target_lists is block.target_lists
    assert block.list_rows.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert part.list_rows.tolist() == [[4, 5], [0, 1], [0, 1]]
    assert again.list_rows.tolist() == [[0, 1], [4, 5]]


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 40))
def test_chunks_hold_no_more_than_they_may(rows: int, width: int, chunk: int) -> None:
    a, b = torch.arange(rows), 10 * torch.arange(rows)[:, None]
    sizes = []

    def add(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        sizes.append(len(x))
        return x + y[:, 0], x

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        total, first = in_chunks(add, a, b, width=width)
        alone = in_chunks(lambda x: x + 1, a, width=width)
    assert total.tolist() == [11 * row for row in range(rows)]
    assert torch.equal(first, a)
    assert torch.equal(alone, a + 1)
    assert sum(sizes) == rows
    assert all(size == 1 or size * width <= chunk for size in sizes)
    assert len(sizes) == -(-rows // max(1, chunk // width))
