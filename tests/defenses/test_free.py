"""Free adversarial training of HM."""

from __future__ import annotations

from collections.abc import Callable

import torch

from robustbench_dml.defenses.hm.free import FreeHardnessManipulation
from robustbench_dml.models.embedder import Embedder
from robustbench_dml.spec.schema import Threat
from robustbench_dml.training.batches import Batch
from robustbench_dml.training.losses import hardness

THREAT = Threat(eps=0.1, alpha=0.04, steps=4)


def test_replays_climb_by_the_gradient_that_trains_the_weights(
    linear_model: Embedder, make_batch: Callable[..., Batch]
) -> None:
    """The weights are not stepped here, so that a naive loop can follow."""
    defense = FreeHardnessManipulation(threat=THREAT, sampler="R", destination="1")
    batch = make_batch()
    assert (defense.replays, defense.nominal_cost) == (4, 1)
    expected = benign = torch.empty(0)
    for replay in range(4):
        with torch.no_grad():
            perturbed = defense.perturb(linear_model, batch)
        if replay == 0:
            expected = benign = batch.images[perturbed.triplets.rows]
        assert torch.allclose(perturbed.images, expected, atol=1e-12, rtol=0)
        defense.loss(linear_model, batch, perturbed).backward()
        x = expected.clone().requires_grad_()
        h = hardness(*linear_model(x.flatten(0, 1)).unflatten(0, (-1, 3)).unbind(1))
        (gradient,) = torch.autograd.grad((h + 0.2).relu().sum(), x)
        step = THREAT.alpha * gradient.sign() * (h.detach() < 1).view(-1, 1, 1, 1, 1)
        expected = torch.clamp(x.detach() + step, benign - THREAT.eps, benign + THREAT.eps).clamp(0, 1)
    assert not torch.equal(expected, benign)
    fresh = defense.perturb(linear_model, batch)  # the next batch begins benign
    assert torch.equal(fresh.images, batch.images[fresh.triplets.rows])
