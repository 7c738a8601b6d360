"""Who attacks are about: how targets are drawn and found."""

from __future__ import annotations

import pytest
import torch
from attack_support import ATTACK_NAMES, GALLERIES, ITEMS, LABELS, WIDTHS, choose, d
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from support import unit_rows
from torch import Tensor

from robustbench_dml.evaluation.attack import random_near, random_others
from robustbench_dml.retrieval.gallery import Gallery, Items
from robustbench_dml.utils.errors import RbdmlError

RANDOM = {"ca+": "w", "qa+": "m", "spqa+": "m"}
NEAR = {"ca-": "w", "qa-": "m", "spqa-": "m"}
every_gallery = pytest.mark.parametrize("gallery", GALLERIES.values(), ids=GALLERIES)


def names_of(families: dict[str, str]) -> list[tuple[str, int]]:
    """(entry, number of targets) for all widths of these families."""
    return [
        (f"{family}{letter}{ending}" if ending else family, width)
        for family, letter in families.items()
        for ending, width in WIDTHS.items()
    ]


def nearest_first(gallery: Gallery, item: int) -> list[int]:
    """All other rows by distance, ties by row."""
    away = {row: round(d(gallery.embeddings[item], x), 7) for row, x in enumerate(gallery.embeddings) if row != item}
    return sorted(away, key=lambda row: (away[row], row))


@every_gallery
@pytest.mark.parametrize("name", [name for name in ATTACK_NAMES if name != "gtm-published"])
def test_targets_are_different_rows_and_never_the_own_one(name: str, gallery: Gallery) -> None:
    for item, targets in zip(ITEMS.tolist(), choose(name, gallery).tolist(), strict=True):
        moved = targets[: -min(5, len(targets))] if name.startswith("spqa") else targets
        assert item not in targets
        assert len(set(moved)) == len(moved)
        assert all(0 <= row < 30 for row in targets)


@pytest.mark.parametrize(("name", "width"), names_of(RANDOM))
def test_random_targets_differ_by_item_and_by_seed(name: str, width: int) -> None:
    first, second = (choose(name, GALLERIES["random"], seed=seed)[:, :width] for seed in (0, 1))
    assert first.shape == (6, width)
    assert len({tuple(row) for row in first.tolist()}) > 3
    assert not torch.equal(first, second)


@every_gallery
@pytest.mark.parametrize(("name", "width"), names_of(NEAR))
def test_near_targets_are_among_the_nearest_percent_and_at_least_as_many_as_asked_for(
    name: str, width: int, gallery: Gallery
) -> None:
    """The nearest 1% of 29 rows is one row."""
    for item, targets in zip(ITEMS.tolist(), choose(name, gallery)[:, :width].tolist(), strict=True):
        assert set(targets) == set(nearest_first(gallery, item)[:width])


@every_gallery
@pytest.mark.parametrize(("name", "width"), names_of({"spqa+": "m", "spqa-": "m"}))
def test_spqa_keeps_the_first_five(name: str, width: int, gallery: Gallery) -> None:
    for item, targets in zip(ITEMS.tolist(), choose(name, gallery).tolist(), strict=True):
        assert targets[width:] == nearest_first(gallery, item)[:5]


@every_gallery
def test_greedy_targets(gallery: Gallery) -> None:
    for place, item in enumerate(ITEMS.tolist()):
        order = nearest_first(gallery, item)
        others = [row for row in range(30) if LABELS[row] != LABELS[item]]
        wrong = next(row for row in order if row in others)
        assert choose("gtt", gallery)[place].tolist() == [order[0]]
        assert choose("gtm", gallery)[place].tolist() == [wrong]
        assert choose("wrong-class", gallery)[place].tolist() == [wrong]
        subset = [row for row in range(30) if LABELS[row] != LABELS[order[0]]]
        misread = subset.index(next(row for row in order if row in subset))
        assert choose("gtm-published", gallery)[place].tolist() == [misread]


@given(
    width=st.integers(1, 6),
    fewer=st.integers(1, 6),
    items=st.lists(st.integers(0, 8), min_size=1, max_size=5),
    data=st.data(),
)
def test_fewer_targets_are_the_first_of_more_for_every_draw(
    width: int, fewer: int, items: list[int], data: st.DataObject
) -> None:
    gallery = Gallery(unit_rows(9, 3, seed=4), torch.zeros(9, dtype=torch.long))
    uniform = st.floats(0, 1, exclude_max=True)
    drawn = torch.tensor([[data.draw(uniform) for _ in range(6)] for _ in items], dtype=torch.float64)

    def draws(n: int) -> Tensor:
        return drawn[:, :n]

    here = Items(gallery, torch.tensor(items))
    many = random_others(here, draws, width=max(width, fewer))
    few = random_others(here, draws, width=min(width, fewer))
    assert torch.equal(many[:, : few.shape[1]], few)
    for item, row in zip(items, many.tolist(), strict=True):
        assert len({item, *row}) == 1 + len(row)
        assert all(0 <= target < 9 for target in row)


@pytest.mark.parametrize(("rows", "width"), [(40, 1), (40, 3), (12, 10)])
def test_random_targets_are_uniform(rows: int, width: int) -> None:
    """Every place of the draw is uniform over the other rows: chi-squared over many draws, and every row occurs."""
    gallery = Gallery(unit_rows(rows, 3, seed=3), torch.zeros(rows, dtype=torch.long))
    item = 7
    drawn = torch.rand(20_000, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    items = Items(gallery, torch.full((len(drawn),), item))
    targets = random_others(items, lambda n: drawn[:, :n], width=width)
    for place in targets.unbind(1):
        count = torch.bincount(place, minlength=rows)
        assert count[item] == 0
        assert chisquare(count[torch.arange(rows) != item].numpy()).pvalue > 1e-4


def test_near_targets_are_uniform_over_the_nearest_percent() -> None:
    gallery = Gallery(unit_rows(501, 5, seed=3), torch.zeros(501, dtype=torch.long))
    drawn = torch.rand(5_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    items = Items(gallery, torch.full((len(drawn),), 33))
    near = nearest_first(gallery, 33)[:5]
    for place in random_near(items, lambda n: drawn[:, :n], width=2).unbind(1):
        count = torch.bincount(place, minlength=501)[near]
        assert count.sum() == len(drawn)
        assert chisquare(count.numpy()).pvalue > 1e-4


@pytest.mark.parametrize("find", [random_others, random_near])
def test_a_gallery_too_small_for_the_targets_is_refused(find: object) -> None:
    gallery = Gallery(unit_rows(5, 3, seed=0), torch.zeros(5, dtype=torch.long))
    items = Items(gallery, torch.arange(5))
    assert callable(find)
    uniform = torch.full((5, 6), 0.99, dtype=torch.float64)
    assert find(items, lambda n: uniform[:, :n], width=4).sort(1).values.tolist() == [
        [row for row in range(5) if row != item] for item in range(5)
    ]
    with pytest.raises(RbdmlError, match="5 targets"):
        find(items, lambda n: uniform[:, :n], width=5)
