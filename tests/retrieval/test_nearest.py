from __future__ import annotations

import math

import pytest
import torch
from attack_support import GALLERIES, ITEMS, d
from attack_support import LABELS as ATTACK_LABELS
from hypothesis import given
from hypothesis import strategies as st
from support import unit_rows
from torch import Tensor

from robustbench_dml.retrieval import gallery as gallery_module
from robustbench_dml.retrieval.gallery import Gallery, Items
from robustbench_dml.retrieval.nearest import RowKind, extreme_rows, nearest_wrong_classes

ROWS = 13
EMBEDDINGS = unit_rows(6, 4, seed=1)
LABELS = torch.arange(ROWS) % 3
OF_QUERIES = torch.tensor([0, 1, 2, 0, 1, 7])  # nothing in the gallery is of class 7
WITHOUT = torch.tensor([0, 4, 12, 1, 6, 3])  # the fourth is of another class than its query


def gallery_with(embeddings: Tensor) -> Gallery:
    return Gallery(embeddings, LABELS)


def tied() -> Tensor:
    embeddings = unit_rows(ROWS, 4, seed=0)
    embeddings[6:12] = embeddings[:6].clone()
    return embeddings


def candidates(query: int, *, same: bool, without: bool) -> list[int]:
    """Rows that may be found."""
    left_out = int(WITHOUT[query]) if without else -1
    return [row for row in range(ROWS) if bool(LABELS[row] == OF_QUERIES[query]) == same and row != left_out]


def away(embeddings: Tensor, query: int, row: int) -> float:
    return math.dist(EMBEDDINGS[query].tolist(), embeddings[row].tolist())


@pytest.mark.parametrize("at_once", [1, 4, 6])
@pytest.mark.parametrize("k", [1, 2, 5, ROWS])
@pytest.mark.parametrize("embeddings", [unit_rows(ROWS, 4, seed=0), tied()], ids=["random", "tied"])
def test_all_kinds_of_rows_in_one_scan_equal_a_loop(
    embeddings: Tensor, k: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery_module, "CHUNK", at_once * ROWS)
    kinds = [(same, farthest, without) for same in (True, False) for farthest in (True, False) for without in (0, 1)]
    wanted = [
        RowKind(labels=OF_QUERIES, same=same, farthest=farthest, without=WITHOUT if without else None, k=k)
        for same, farthest, without in kinds
    ]
    results = extreme_rows(EMBEDDINGS, gallery_with(embeddings), *wanted)
    for (same, farthest, without), (rows, found) in zip(kinds, results, strict=True):
        assert rows.shape == found.shape == (6, k)
        for query in range(6):
            possible = candidates(query, same=same, without=bool(without))
            expected = sorted((away(embeddings, query, row) for row in possible), reverse=farthest)[:k]
            chosen = rows[query][found[query]].tolist()
            assert found[query].tolist() == [place < len(possible) for place in range(k)]
            assert len(set(chosen)) == len(chosen)
            assert set(chosen) <= set(possible)
            assert [away(embeddings, query, row) for row in chosen] == pytest.approx(expected, abs=1e-7)


def test_a_class_without_members_does_not_exist() -> None:
    nobody = RowKind(labels=torch.full((6,), 9), same=True, k=2)
    everybody = RowKind(labels=torch.full((6,), 9), same=False, k=2)
    none, some = extreme_rows(EMBEDDINGS, gallery_with(tied()), nobody, everybody)
    assert not none.exists.any()
    assert some.exists.all()
    assert ((none.rows >= 0) & (none.rows < ROWS)).all()  # usable as rows nevertheless


def test_the_only_member_may_be_left_out() -> None:
    gallery = Gallery(unit_rows(4, 4, seed=0), torch.tensor([0, 1, 1, 1]))
    wanted = RowKind(labels=torch.zeros(6, dtype=torch.long), same=True, without=torch.zeros(6, dtype=torch.long))
    assert not extreme_rows(EMBEDDINGS, gallery, wanted)[0].exists.any()


def test_choosing_carries_no_gradient_and_keeps_its_input() -> None:
    embeddings = EMBEDDINGS.clone().requires_grad_()
    gallery = gallery_with(tied())
    (found,) = extreme_rows(embeddings, gallery, RowKind(labels=OF_QUERIES, same=False, farthest=True))
    assert not found.rows.requires_grad
    assert torch.equal(embeddings, EMBEDDINGS)
    assert torch.equal(gallery.embeddings, tied())


@given(st.data())
def test_the_nearest_by_hypothesis(data: st.DataObject) -> None:
    """Few labels, many ties."""
    n = data.draw(st.integers(1, 9))
    corners = torch.cat([torch.eye(2), -torch.eye(2)]).double()
    some = st.lists(st.integers(0, 3), min_size=n, max_size=n)
    places, labels = data.draw(some), data.draw(some)
    query, label, k = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(1, 4)))
    gallery = Gallery(corners[places], torch.tensor(labels))
    wanted = RowKind(labels=torch.tensor([label]), same=True, k=k)
    ((rows, found),) = extreme_rows(corners[query : query + 1], gallery, wanted)
    chosen = [int(corners[query] @ gallery.embeddings[row]) for row in rows[found].tolist()]
    of_class = [int(corners[query] @ corners[place]) for place, of in zip(places, labels, strict=True) if of == label]
    assert chosen == sorted(of_class, reverse=True)[:k]


@pytest.mark.parametrize("gallery", GALLERIES.values(), ids=GALLERIES)
@pytest.mark.parametrize("chunk", [1, 2**20])
@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_nearest_wrong_classes_equal_a_loop(
    k: int, chunk: int, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each wrong class its nearest row, ties by row; where there are too few classes the last one again."""
    monkeypatch.setattr(gallery_module, "CHUNK", chunk)
    labels = 5 * ATTACK_LABELS  # with gaps: a class is no column
    found = nearest_wrong_classes(Items(Gallery(gallery.embeddings, labels), ITEMS), k)
    for item, rows in zip(ITEMS.tolist(), found.tolist(), strict=True):
        away = {
            row: (round(d(gallery.embeddings[item], gallery.embeddings[row]), 7), row)
            for row in range(30)
            if labels[row] != labels[item]
        }
        of_class: dict[int, int] = {}
        for row in sorted(away, key=lambda row: away[row]):
            of_class.setdefault(int(labels[row]), row)
        nearest = list(of_class.values())
        assert rows == [nearest[min(place, 2)] for place in range(k)]
