from __future__ import annotations

import torch

from robustbench_dml.training.losses import hardness, triplet_loss
from robustbench_dml.training.metrics import collecting, log_value


def test_the_first_values_of_a_name_count_and_carry_no_gradient() -> None:
    values = torch.arange(3.0, requires_grad=True)
    with collecting() as kept:
        log_value("x", values)
        log_value("x", 2 * values)
        log_value("y", 3 * values)
    assert torch.equal(kept["x"], torch.arange(3.0)) and torch.equal(kept["y"], 3 * torch.arange(3.0))
    assert not kept["x"].requires_grad


def test_nothing_is_kept_outside() -> None:
    log_value("x", torch.zeros(1))
    with collecting() as outer:
        with collecting() as inner:
            log_value("x", torch.ones(1))
        log_value("y", torch.ones(1))
    log_value("z", torch.ones(1))
    assert (list(inner), list(outer)) == (["x"], ["y"])


def test_a_triplet_loss_notes_its_hardness() -> None:
    a, p, n = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)).unbind(0)
    with collecting() as kept:
        loss = triplet_loss(a, p, n, margin=0.2)
    assert torch.equal(kept["hardness"], hardness(a, p, n))
    assert torch.equal(loss, (hardness(a, p, n) + 0.2).relu().mean())
