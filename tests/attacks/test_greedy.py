from __future__ import annotations

import pytest
import torch
from attack_support import GALLERIES, naive_items
from support import unit_rows

from robustbench_dml.retrieval.gallery import Block, Gallery
from robustbench_dml.spec.registry import ATTACKS


@pytest.mark.parametrize("gallery", GALLERIES.values(), ids=GALLERIES)
def test_translocation_fails_for_the_first_four_ranks_and_no_other(gallery: Gallery) -> None:
    """One query with every other row as its target: each place of the list once."""
    targets = torch.tensor([[row] for row in range(30) if row != 8])
    block = Block(gallery, torch.full((29,), 8), targets)
    moved = unit_rows(1, 5, seed=7).expand(29, 5)
    places = [item.place() for item in naive_items(block, moved)]
    assert sorted(places) == list(range(29))
    found = ATTACKS.get("gtt").build().score(moved, block)["GTT"]
    assert found.tolist() == [float(place < 4) for place in places]
