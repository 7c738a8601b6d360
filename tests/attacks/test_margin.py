"""What the attacks on the first place do beside what all attacks have in common."""

from __future__ import annotations

import pytest
import torch
from attack_support import GALLERIES, ITEMS, LABELS, attacked_block, d, naive_items
from support import unit_rows

from robustbench_dml.attacks import margin
from robustbench_dml.evaluation.attack import Block, Gallery, Items
from robustbench_dml.retrieval import gallery as gallery_module
from robustbench_dml.spec.registry import ATTACKS

FIRST_PLACE = ["ranking-margin", "hardest-margin", "smooth-recall", "wrong-class", "ltm"]


@pytest.mark.parametrize("gallery", GALLERIES.values(), ids=GALLERIES)
@pytest.mark.parametrize("k", [1, 3])
def test_smooth_recall_looks_at_the_nearest_of_either_kind(
    k: int, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(margin, "CONSIDERED", k)
    attack, block, moved = attacked_block("smooth-recall", gallery)
    expected = [item.smooth(k=k) for item in naive_items(block, moved)]
    assert attack.objective(moved, block).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("gallery", GALLERIES.values(), ids=GALLERIES)
@pytest.mark.parametrize("chunk", [1, 2**20])
@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_nearest_wrong_classes_equal_a_loop(
    k: int, chunk: int, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each wrong class its nearest row, ties by row; where there are too few classes the last one again."""
    monkeypatch.setattr(gallery_module, "CHUNK", chunk)
    labels = 5 * LABELS  # with gaps: a class is no column
    found = margin.nearest_wrong_classes(Items(Gallery(gallery.embeddings, labels), ITEMS), k)
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


def test_the_place_of_a_wrong_class_can_be_chosen() -> None:
    items = Items(GALLERIES["random"], ITEMS)
    entry = ATTACKS.get("wrong-class")
    every = margin.nearest_wrong_classes(items, 3)
    for place in range(3):
        targets = entry.cls(place=place).choose_targets(items, lambda n: torch.zeros(len(ITEMS), n))
        assert torch.equal(targets, every[:, place : place + 1])


@pytest.mark.parametrize("name", FIRST_PLACE)
def test_a_query_alone_in_its_class_stays_as_it_is(name: str) -> None:
    """It has no right item to be overtaken: the objective is flat, and finite, while others move."""
    labels = LABELS.clone()
    labels[ITEMS[0]] = 9
    gallery = Gallery(unit_rows(30, 5, seed=0), labels)
    attack, block, moved = attacked_block(name, gallery)
    moved.requires_grad_()
    values = attack.objective(moved, block)
    (gradient,) = torch.autograd.grad(values.sum(), moved)
    assert gradient.isfinite().all()
    assert (gradient[0] == 0).all()
    assert (gradient[1:].abs().sum(1) > 0).any()


@pytest.mark.parametrize("name", FIRST_PLACE)
def test_one_class_alone_has_nothing_wrong_in_it(name: str) -> None:
    gallery = Gallery(unit_rows(30, 5, seed=0), torch.zeros(30, dtype=torch.long))
    attack = ATTACKS.get(name).build()
    targets = attack.choose_targets(Items(gallery, ITEMS), lambda n: torch.zeros(len(ITEMS), n))
    moved = unit_rows(len(ITEMS), 5, seed=2).requires_grad_()
    values = attack.objective(moved, Block(gallery, ITEMS, targets))
    (gradient,) = torch.autograd.grad(values.sum(), moved)
    assert gradient.isfinite().all()
    assert torch.equal(gradient, torch.zeros_like(gradient))
