"""EST, SES, ACT and CA-TRIDE against their definitions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from robustbench_dml.models.embedder import Embedder
from robustbench_dml.retrieval.geometry import distance
from robustbench_dml.spec.parameters import build_defense, resolve_params
from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.spec.schema import Threat
from robustbench_dml.training.batches import Batch
from robustbench_dml.training.defense import Defense
from robustbench_dml.training.losses import MARGIN, triplet_loss

MakeBatch = Callable[..., Batch]
THREAT = Threat(eps=0.3, alpha=0.05, steps=6)


def defense(name: str, threat: Threat = THREAT) -> Defense:
    return build_defense(name, resolve_params(DEFENSES.get(name), {}), threat)


def ascend(images: Tensor, start: Tensor, steps: int, value: Callable[[Tensor], Tensor]) -> Tensor:
    """Plain sign ascent on a value of the images, one group at a time."""
    x = start
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(value(x), x)
        moved = x + THREAT.alpha * gradient.sign()
        x = torch.clamp(moved, images - THREAT.eps, images + THREAT.eps).clamp(0, 1)
    return x.detach()


def test_act_draws_positive_and_negative_together_and_leaves_the_anchor(
    linear_model: Embedder, make_batch: MakeBatch
) -> None:
    batch, act = make_batch(), defense("act")
    perturbed = act.perturb(linear_model, batch)
    for rows, moved in zip(perturbed.triplets.rows, perturbed.images, strict=True):
        benign = batch.images[rows[1:]]
        expected = ascend(benign, benign, THREAT.steps, lambda x: -distance(*linear_model(x)))
        assert torch.allclose(moved, expected, atol=1e-12, rtol=0)
    positive, negative = (linear_model(perturbed.images[:, column]) for column in (0, 1))
    anchor = linear_model(batch.images[perturbed.triplets.anchor])
    loss = act.loss(linear_model, batch, perturbed)
    assert loss.item() == pytest.approx(triplet_loss(anchor, positive, negative, margin=MARGIN).item(), abs=1e-14)
    (gradient,) = torch.autograd.grad(
        act.loss(linear_model, with_images(batch, batch.images.requires_grad_()), perturbed), batch.images
    )
    assert gradient[: batch.pairs].abs().sum() > 0
    assert (gradient[batch.pairs :] == 0).all()


def with_images(batch: Batch, images: Tensor, progress: float = 0.0) -> Batch:
    return Batch(images, batch.labels, batch.indices, batch.rng, progress)


@pytest.mark.parametrize("name", ["est", "ses"])
def test_the_first_step_of_an_embedding_shift_is_not_zero(
    linear_model: Embedder, make_batch: MakeBatch, name: str
) -> None:
    batch = make_batch()
    moved = defense(name, Threat(eps=0.3, alpha=0.05, steps=1)).perturb(linear_model, batch).images
    assert ((moved - batch.images).abs().flatten(1).amax(1) > 0).all()


def test_embedding_shift_moves_each_image_on_its_own(linear_model: Embedder, make_batch: MakeBatch) -> None:
    """From the second step on there is a distance to climb."""
    batch = make_batch()
    moved = defense("est").perturb(linear_model, batch).images
    one_step = defense("est", Threat(eps=0.3, alpha=0.05, steps=1)).perturb(linear_model, batch).images
    for image, start, result in zip(batch.images, one_step, moved, strict=True):
        origin = linear_model(image[None])[0].detach()
        expected = ascend(image, start, THREAT.steps - 1, lambda x, o=origin: (linear_model(x[None])[0] - o).norm())  # type: ignore[misc]
        assert torch.allclose(result, expected, atol=1e-12, rtol=0)


def test_losses_of_est_and_ses(linear_model: Embedder, make_batch: MakeBatch) -> None:
    batch = make_batch()
    for name in ("est", "ses"):
        perturbed = defense(name).perturb(linear_model, batch)
        benign, moved = linear_model(batch.images), linear_model(perturbed.images)
        source = moved if name == "est" else benign
        expected = triplet_loss(*source[perturbed.triplets.rows].unbind(1), margin=MARGIN)
        if name == "ses":
            expected = expected + (moved - benign).norm(dim=1).mean()
        loss = defense(name).loss(linear_model, batch, perturbed)
        assert loss.item() == pytest.approx(expected.item(), abs=1e-14), name


def test_tride_takes_turns_and_grows_with_progress(linear_model: Embedder, make_batch: MakeBatch) -> None:
    tride, batch = defense("ca-tride"), make_batch()
    late = with_images(batch, batch.images, progress=1.0)
    shapes = [tride.perturb(linear_model, late).images.shape[1] for _ in range(4)]
    assert shapes == [2, 1, 2, 1]
    still = tride.perturb(linear_model, batch)
    assert torch.equal(still.images, batch.images[still.triplets.rows[:, 1:]])
    tride.load_state({"turn": torch.tensor(1)})
    assert tride.perturb(linear_model, batch).images.shape[1] == 1


@pytest.mark.parametrize("seed", range(4))
def test_tride_candidates_close_the_weighted_gap(linear_model: Embedder, make_batch: MakeBatch, seed: int) -> None:
    batch = make_batch(seed=seed)
    perturbed = defense("ca-tride").perturb(linear_model, with_images(batch, batch.images, progress=1.0))
    anchor = linear_model(batch.images[perturbed.triplets.anchor])

    def gap(candidates: Tensor) -> float:
        weighted = []
        for column in (0, 1):
            d = (anchor - linear_model(candidates[:, column])).norm(dim=1)
            weights = (10 * (d - d.max())).exp()
            weighted.append((weights * d).sum().item() / weights.sum().item())
        return weighted[1] - weighted[0]

    before = gap(batch.images[perturbed.triplets.rows[:, 1:]])
    after = gap(perturbed.images)
    assert after < before if before > 0 else after == before


def test_tride_anchors_move(linear_model: Embedder, make_batch: MakeBatch) -> None:
    batch, tride = make_batch(), defense("ca-tride")
    tride.load_state({"turn": torch.tensor(1)})
    perturbed = tride.perturb(linear_model, with_images(batch, batch.images, progress=1.0))
    anchor, negative = (batch.images[perturbed.triplets.rows[:, column]] for column in (0, 2))
    before = (linear_model(anchor) - linear_model(negative)).norm(dim=1)
    after = (linear_model(perturbed.images[:, 0]) - linear_model(negative)).norm(dim=1)
    assert after.sort().values[:4].mean() < before.sort().values[:4].mean()


def test_tride_loss_replaces_the_perturbed_images(linear_model: Embedder, make_batch: MakeBatch) -> None:
    batch, tride = make_batch(), defense("ca-tride")
    for moved_columns in ([1, 2], [0]):
        perturbed = tride.perturb(linear_model, with_images(batch, batch.images, progress=1.0))
        images = batch.images[perturbed.triplets.rows].clone()
        images[:, moved_columns] = perturbed.images
        a, p, n = (linear_model(images[:, column]) for column in range(3))
        expected = triplet_loss(a, p, n, margin=MARGIN)
        assert tride.loss(linear_model, batch, perturbed).item() == pytest.approx(expected.item(), abs=1e-14)
