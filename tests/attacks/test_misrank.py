from __future__ import annotations

import pytest
import torch
from attack_support import naive_items
from support import unit_rows
from torch.nn import functional as F

from robustbench_dml.retrieval.gallery import Block, Gallery
from robustbench_dml.spec.registry import ATTACKS


@pytest.mark.parametrize("name", ["ltm", "ltm-published"])
def test_where_every_wrong_item_is_nearer_already_nothing_is_left_to_gain(name: str) -> None:
    """The two classes are at opposite poles, and the first queries were moved across."""
    labels = torch.arange(20) % 2
    pole = F.one_hot(torch.tensor(0), 5).double() * (1.0 - 2 * labels[:, None])
    gallery = Gallery(F.normalize(pole + 0.2 * unit_rows(20, 5, seed=0), dim=1), labels)
    items = torch.arange(8)
    moved = torch.where(items[:, None] < 4, -gallery.embeddings[items], gallery.embeddings[items])
    moved = F.normalize(moved + 0.1 * unit_rows(8, 5, seed=1), dim=1).requires_grad_()
    block = Block(gallery, items, items.new_empty(8, 0))
    values = ATTACKS.get(name).build().objective(moved, block)
    expected = [item.misrank(itself=name == "ltm-published") for item in naive_items(block, moved.detach())]
    assert values.tolist() == pytest.approx(expected, abs=1e-9)
    assert expected[:4] == [0.0] * 4
    assert min(expected[4:]) > 1
    (gradient,) = torch.autograd.grad(values.sum(), moved)
    assert (gradient[:4] == 0).all()
    assert (gradient[4:] != 0).any(1).all()
