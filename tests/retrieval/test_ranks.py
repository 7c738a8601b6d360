from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import unit_rows
from torch import Tensor
from torch.nn import functional as F

from robustbench_dml.retrieval import ranks as module
from robustbench_dml.retrieval.geometry import order_keys, order_keys_rowwise
from robustbench_dml.retrieval.ranks import exact_ranks


@pytest.fixture(scope="module", autouse=True)
def small_tiles() -> Iterator[None]:
    """Several blocks and tiles, the last of them not full, of a small gallery."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "QUERIES", 7)
        patch.setattr(module, "TILE", 16)
        patch.setattr(module, "PAIRS", 3)
        yield


def naive(embeddings: Tensor, queries: Tensor, items: Tensor) -> list[list[int]]:
    keys = order_keys(embeddings, embeddings).tolist()
    found = []
    for query, wanted in zip(queries.tolist(), items.tolist(), strict=True):
        row = keys[query]
        found.append(
            [
                -1
                if item == query
                else sum((row[other], other) < (row[item], item) for other in range(len(row)) if other != query)
                for item in wanted
            ]
        )
    return found


def asked(rows: int, width: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Queries in any order and items for them, some of them the query itself."""
    rng = torch.Generator().manual_seed(seed)
    queries = torch.randperm(rows, generator=rng)[: rows // 2 + 1]
    items = torch.randint(rows, (len(queries), width), generator=rng)
    items[::5, 0] = queries[::5]
    return queries, items


def repeated(rows: int) -> Tensor:
    return unit_rows(rows // 4, 6, seed=0)[torch.arange(rows) % (rows // 4)]


def closer_than_rounding(rows: int) -> Tensor:
    """Neighbours differ in the last bits of float32."""
    return F.normalize(unit_rows(3, 6, seed=0)[torch.arange(rows) % 3] + 1e-7 * unit_rows(rows, 6, seed=1), dim=1)


GALLERIES = {
    "random": unit_rows(75, 6, seed=0),
    "float32": unit_rows(75, 6, seed=0).float(),
    "repeated": repeated(76),
    "repeated float32": repeated(76).float(),
    "closer than rounding": closer_than_rounding(75),
    "closer than rounding, float32": closer_than_rounding(75).float(),
    "collapsed": F.normalize(torch.ones(40, 5), dim=1),
    "half precision's lengths": unit_rows(75, 6, seed=0).half().float(),
    "smaller than a tile": unit_rows(9, 6, seed=0),
}


@pytest.mark.parametrize("name", GALLERIES)
def test_places_equal_a_loop(name: str) -> None:
    embeddings = GALLERIES[name]
    queries, items = asked(len(embeddings), 3)
    assert exact_ranks(embeddings, queries, items).tolist() == naive(embeddings, queries, items)


@pytest.mark.parametrize("crowded", [0.0, 1.0])
@pytest.mark.parametrize("name", ["random", "repeated", "closer than rounding", "collapsed"])
def test_pairs_and_whole_tiles_are_compared_alike(monkeypatch: pytest.MonkeyPatch, name: str, crowded: float) -> None:
    monkeypatch.setattr(module, "CROWDED", crowded)
    embeddings = GALLERIES[name]
    queries, items = asked(len(embeddings), 2, seed=1)
    assert exact_ranks(embeddings, queries, items).tolist() == naive(embeddings, queries, items)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.integers(2, 40), st.integers(1, 4), st.integers(0, 10**6), st.booleans())
def test_ranks_equal_a_loop_for_all_sizes(rows: int, dimension: int, width: int, seed: int, single: bool) -> None:
    embeddings = unit_rows(rows, dimension, seed=seed)
    embeddings[rows // 2 :] = embeddings[: rows - rows // 2].clone()  # every other has an equal
    embeddings = embeddings.float() if single else embeddings
    queries, items = asked(rows, width, seed=seed)
    assert exact_ranks(embeddings, queries, items).tolist() == naive(embeddings, queries, items)


def test_no_queries_have_no_ranks() -> None:
    nothing = torch.empty(0, 3, dtype=torch.long)
    assert exact_ranks(unit_rows(9, 6, seed=0), nothing[:, 0], nothing).shape == (0, 3)


def test_a_process_that_allows_coarser_products_gets_exact_ranks() -> None:
    before = torch.get_float32_matmul_precision()
    embeddings = unit_rows(300, 64, seed=0).float()
    queries, items = asked(300, 2)
    try:
        torch.set_float32_matmul_precision("medium")
        found = exact_ranks(embeddings, queries, items)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert found.tolist() == naive(embeddings, queries, items)


def test_most_rows_are_never_compared_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would be slow and nobody would know."""
    compared: list[int] = []
    exact = order_keys_rowwise

    def counted(a: Tensor, b: Tensor) -> Tensor:
        compared.append(len(b))
        return exact(a, b)

    monkeypatch.setattr(module, "order_keys_rowwise", counted)
    queries, items = asked(400, 1)
    exact_ranks(unit_rows(400, 64, seed=0), queries, items)
    assert sum(compared) < 4 * len(queries)  # each item itself twice, and hardly anything beside it
