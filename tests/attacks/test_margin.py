"""Attacks on the first place, beyond the tests of all attacks."""

from __future__ import annotations

import pytest
import torch
from attack_support import GALLERIES, ITEMS, LABELS, attacked_block, naive_items
from support import unit_rows

from robustbench_dml.attacks import margin
from robustbench_dml.retrieval.gallery import Block, Gallery, Items
from robustbench_dml.retrieval.nearest import nearest_wrong_classes
from robustbench_dml.spec.registry import ATTACKS

FIRST_PLACE = ["ranking-margin", "hardest-margin", "smooth-recall", "wrong-class", "ltm"]


@pytest.mark.parametrize("gallery", GALLERIES.values(), ids=GALLERIES)
@pytest.mark.parametrize("k", [1, 3])
def test_smooth_recall_uses_the_nearest_of_either_kind(
    k: int, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(margin, "CONSIDERED", k)
    attack, block, moved = attacked_block("smooth-recall", gallery)
    expected = [item.smooth(k=k) for item in naive_items(block, moved)]
    assert attack.objective(moved, block).tolist() == pytest.approx(expected, abs=1e-5)


def test_the_wrong_class_can_be_chosen() -> None:
    items = Items(GALLERIES["random"], ITEMS)
    entry = ATTACKS.get("wrong-class")
    every = nearest_wrong_classes(items, 3)
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
