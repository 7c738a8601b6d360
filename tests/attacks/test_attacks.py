"""Every attack against loops over queries and gallery that follow the definitions one item at a time."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from attack_support import (
    ATTACK_NAMES,
    GALLERIES,
    GRADIENTS,
    ITEMS,
    LABELS,
    OBJECTIVES,
    SCORES,
    attacked_block,
    naive_items,
    random_gallery,
)
from support import unit_rows
from torch.nn import functional as F

from robustbench_dml.retrieval import gallery as gallery_module
from robustbench_dml.retrieval import rank_hinge as overtaking
from robustbench_dml.retrieval.gallery import Block, Gallery
from robustbench_dml.spec.protocols import columns_of, protocol_columns
from robustbench_dml.spec.registry import ATTACKS

PARTS = ([4, 1, 1, 5, 0], [3], [5, 4, 3, 2, 1, 0])
every_attack = pytest.mark.parametrize("name", ATTACK_NAMES)
every_gradient = pytest.mark.parametrize("name", GRADIENTS)
every_gallery = pytest.mark.parametrize("gallery", GALLERIES.values(), ids=GALLERIES)


def test_every_attack_has_a_loop_to_be_compared_with() -> None:
    assert set(OBJECTIVES) == set(ATTACK_NAMES)
    assert set(SCORES) == set(columns_of(ATTACK_NAMES))


@every_gallery
@every_attack
def test_objective_equals_a_loop(name: str, gallery: Gallery) -> None:
    attack, block, moved = attacked_block(name, gallery)
    expected = [OBJECTIVES[name](item) for item in naive_items(block, moved)]
    assert attack.objective(moved, block).tolist() == pytest.approx(expected, abs=1e-5, rel=1e-6)


@every_gallery
@every_attack
def test_score_equals_a_loop(name: str, gallery: Gallery) -> None:
    attack, block, moved = attacked_block(name, gallery)
    scores = attack.score(moved, block)
    assert list(scores) == [column.name for column in ATTACKS.get(name).columns]
    for column, values in scores.items():
        expected = [SCORES[column](item) for item in naive_items(block, moved)]
        assert values.dtype == torch.float64
        assert values.tolist() == pytest.approx(expected, abs=1e-6), column


SHIFTS = ("es", "es-d-published", "es-r-published")


@every_attack
def test_objective_in_float32_keeps_to_the_loop_but_for_rounding(name: str) -> None:
    """Distances from a product in float32 are off by up to 9e-4 where they vanish, by 1e-7 / d elsewhere."""
    gallery = GALLERIES["random"]
    attack, block, moved = attacked_block(name, Gallery(gallery.embeddings.float(), LABELS))
    expected = [OBJECTIVES[name](item) for item in naive_items(attacked_block(name, gallery)[1], moved.double())]
    near_zero = {
        **dict.fromkeys(SHIFTS, 1e-3),
        "ltm-published": 1e-3,
        "gtm-published": 1e-3,
        "smooth-recall": 2e-2,
        "uap": 2e-2,
        "spfoa": 5e-3,
    }
    found = attack.objective(moved.float(), block).tolist()
    assert found == pytest.approx(expected, abs=near_zero.get(name, 5e-5), rel=1e-5)


@every_gradient
def test_the_gradient_is_that_of_the_value(name: str) -> None:
    """By finite differences in float64, where nothing is on an edge. SPQA's weight counts as a constant."""
    attack, block, _ = attacked_block(name, random_gallery())
    moved = F.normalize(block.benign + 0.3 * unit_rows(len(ITEMS), 5, seed=5), dim=1).requires_grad_()
    (gradient,) = torch.autograd.grad(attack.objective(moved, block).sum(), moved)
    assert (gradient.abs().sum(1) > 0).sum() >= 4
    if not name.startswith("spqa"):
        assert torch.autograd.gradcheck(partial(attack.objective, block=block), (moved,), atol=1e-6)


@every_gradient
def test_the_attacker_has_a_direction_at_the_benign_image(name: str) -> None:
    """Off ES's first step no objective of an honest model is flat where the attack starts, but for a rank that is
    already perfect; with random embeddings at least one item moves."""
    attack, block, _ = attacked_block(name, random_gallery())
    start = block.benign.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(attack.objective(start, block).sum(), start)
    assert gradient.isfinite().all()
    assert (gradient.abs().sum(1) > 0).any()
    if name in SHIFTS:
        assert (gradient.abs().sum(1) > 0).all()


@pytest.mark.parametrize("table", [overtaking.TABLE, 0], ids=["sorted", "scanned"])
@every_attack
def test_a_part_of_a_block_has_a_part_of_its_values(name: str, table: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overtaking, "TABLE", table)
    attack, block, moved = attacked_block(name, random_gallery())
    whole, scores = attack.objective(moved, block), attack.score(moved, block)
    for rows in map(torch.tensor, PARTS):
        part = block.take(rows)
        assert attack.objective(moved[rows], part).tolist() == pytest.approx(whole[rows].tolist(), rel=1e-9)
        for column, values in attack.score(moved[rows], part).items():
            assert torch.equal(values, scores[column][rows]), column
        again = torch.arange(len(rows)).flip(0)[: len(rows) // 2 + 1]
        found = attack.objective(moved[rows[again]], part.take(again))
        assert found.tolist() == pytest.approx(whole[rows[again]].tolist(), rel=1e-9)


@every_attack
def test_an_item_has_the_same_values_alone(name: str) -> None:
    """Nothing that an attack does depends on the other items of its block."""
    attack, block, moved = attacked_block(name, random_gallery())
    together = attack.objective(moved, block)
    for i in range(len(ITEMS)):
        alone = Block(block.gallery, ITEMS[i : i + 1], block.targets[i : i + 1])
        assert attack.objective(moved[i : i + 1], alone).tolist() == pytest.approx(together[i : i + 1].tolist())


@pytest.mark.parametrize(("chunk", "tile"), [(1, 1), (65, 7), (90, 30)])
@every_attack
def test_scores_in_chunks_are_the_scores_in_one_go(
    name: str, chunk: int, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack, block, moved = attacked_block(name, GALLERIES["tied"])
    whole = attack.score(moved, block)
    monkeypatch.setattr(gallery_module, "CHUNK", chunk)
    monkeypatch.setattr(gallery_module, "TILE", tile)
    again, fresh, _ = attacked_block(name, Gallery(block.gallery.embeddings, LABELS))
    assert torch.equal(fresh.targets, block.targets)
    for column, values in again.score(moved, fresh).items():
        assert torch.equal(values, whole[column]), column


def test_the_protocol_has_the_ten_columns_in_the_papers_order() -> None:
    assert list(protocol_columns("ers")) == ["CA+", "CA-", "QA+", "QA-", "TMA", "ES:D", "ES:R", "LTM", "GTM", "GTT"]
    assert list(protocol_columns("ers-published")) == list(protocol_columns("ers"))
