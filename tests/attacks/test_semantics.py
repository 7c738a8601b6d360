"""SPQA's weight: it grows as the kept candidates fall, up to a limit, and carries no gradient."""

from __future__ import annotations

import math

import pytest
import torch
from attack_support import GALLERIES, ITEMS, attacked_block, naive_items
from support import unit_rows
from torch import Tensor
from torch.nn import functional as F

from robustbench_dml.attacks import semantics
from robustbench_dml.retrieval.gallery import Block


def dense_overtaking(moved: Tensor, block: Block, targets: Tensor, sign: int) -> Tensor:
    """By automatic differentiation of a dense matrix of distances."""
    away = (moved[:, None] - block.gallery.embeddings).norm(dim=2)
    rows = torch.arange(len(moved))
    values = []
    for target in targets.unbind(1):
        competes = torch.ones_like(away)
        competes[rows, block.items] = 0
        competes[rows, target] = 0
        gaps = (sign * (away[rows, target][:, None] - away)).clamp_min(0) * competes
        values.append(gaps.sum(1) / competes.sum(1))
    return torch.stack(values, 1).mean(1)


@pytest.mark.parametrize("name", ["spqa+", "spqa-m5"])
@pytest.mark.parametrize("strictness", [0.0, 5.0, 4e4])
def test_the_weight_grows_up_to_its_limit(name: str, strictness: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantics, "STRICTNESS", strictness)
    attack, block, moved = attacked_block(name, GALLERIES["random"])
    width = 5 if name.endswith("5") else 1
    sign = 1 if "+" in name else -1
    items = naive_items(block, moved)
    expected = [item.preserving(sign, width, strictness=strictness) for item in items]
    assert attack.objective(moved, block).tolist() == pytest.approx(expected, rel=1e-5)
    fallen = [item.query(1, item.targets[width:]) for item in items]
    weights = [min(math.exp(min(strictness * each, 100)), 1e9) for each in fallen]
    # The three rates show the three ranges: constant, growing, and at the limit.
    if strictness == 5:
        assert 1 < min(weights) < max(weights) < 1e9
    else:
        assert max(weights) == (1 if strictness == 0 else 1e9)


@pytest.mark.parametrize("name", ["spqa+m2", "spqa-"])
def test_the_weight_counts_as_a_constant_for_the_gradient(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantics, "STRICTNESS", 5.0)
    attack, block, _ = attacked_block(name, GALLERIES["random"])
    width, sign = (2 if name.endswith("2") else 1), (1 if "+" in name else -1)
    moved = F.normalize(block.benign + 0.3 * unit_rows(len(ITEMS), 5, seed=5), dim=1).requires_grad_()
    fallen = dense_overtaking(moved, block, block.targets[:, width:], 1)
    with torch.no_grad():
        weight = (5 * fallen).exp()
    dense = dense_overtaking(moved, block, block.targets[:, :width], sign) + weight * fallen
    (expected,) = torch.autograd.grad(dense.sum(), moved)
    (found,) = torch.autograd.grad(attack.objective(moved, block).sum(), moved)
    # Distances from a product know only the part along the sphere.
    along_it, along = (g - (g * moved).sum(1, keepdim=True) * moved for g in (found, expected))
    assert torch.allclose(along_it, along, atol=1e-9)
    assert (weight > 1).all()
