"""Hardness Manipulation at its boundaries, against loops, and its cost against hand counts."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from support import unit_rows
from torch import Tensor

from robustbench_dml.defenses.hm import HardnessManipulation
from robustbench_dml.defenses.hm.structure import intra_class_structure
from robustbench_dml.models.embedder import Embedder
from robustbench_dml.solvers.group_pgd import pgd
from robustbench_dml.spec.parameters import build_defense, resolve_params
from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.spec.schema import Threat
from robustbench_dml.training.batches import Batch
from robustbench_dml.training.defense import Defense, Perturbed
from robustbench_dml.training.losses import MARGIN, hardness
from robustbench_dml.training.meter import PropagationMeter
from robustbench_dml.utils.errors import RbdmlError

THREAT = Threat(eps=0.2, alpha=0.03, steps=8)
MakeBatch = Callable[..., Batch]


def hm(threat: Threat = THREAT, **params: object) -> HardnessManipulation:
    return HardnessManipulation(threat=threat, **params)  # type: ignore[arg-type]


def step(defense: Defense, model: Embedder, batch: Batch) -> tuple[Perturbed, Tensor, list[Tensor]]:
    """Run one iteration. Returns the perturbed images, the loss and the gradient of the weights."""
    with torch.no_grad():
        perturbed = defense.perturb(model, batch)
    loss = defense.loss(model, batch, perturbed)
    return perturbed, loss.detach(), list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.parametrize("early_stop", [True, False])
@pytest.mark.parametrize("sampler", ["R", "S"])
def test_destination_equal_to_source_is_regular_training(
    linear_model: Embedder, make_batch: MakeBatch, sampler: str, early_stop: bool
) -> None:
    ours = step(hm(sampler=sampler, destination=sampler, early_stop=early_stop), linear_model, make_batch())
    regular = build_defense("regular", {"sampler": sampler}, THREAT)
    theirs = step(regular, linear_model, make_batch())
    assert torch.equal(ours[0].triplets.rows, theirs[0].triplets.rows)
    assert torch.equal(ours[0].images, make_batch().images[ours[0].triplets.rows])
    assert math.isclose(ours[1].item(), theirs[1].item(), abs_tol=1e-14)
    for a, b in zip(ours[2], theirs[2], strict=True):
        assert torch.allclose(a, b, atol=1e-14, rtol=0)


def naive_maximum(model: Embedder, triplet: Tensor, objective: Callable[[Tensor], Tensor]) -> Tensor:
    """Plain sign ascent on one triplet of images."""
    x = triplet
    for _ in range(THREAT.steps):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(objective(hardness(*model(x))), x)
        moved = torch.clamp(x + THREAT.alpha * gradient.sign(), triplet - THREAT.eps, triplet + THREAT.eps)
        x = moved.clamp(0, 1)
    return x.detach()


@pytest.mark.parametrize("early_stop", [True, False])
def test_destination_two_is_maximising_the_triplet_loss(
    linear_model: Embedder, make_batch: MakeBatch, early_stop: bool
) -> None:
    batch = make_batch(16)
    perturbed, _, _ = step(hm(destination="2", early_stop=early_stop), linear_model, batch)
    assert perturbed.images is not None
    benign = batch.images[perturbed.triplets.rows]
    with_loss = 0
    for triplet, moved in zip(benign, perturbed.images, strict=True):
        assert torch.allclose(moved, naive_maximum(linear_model, triplet, lambda h: h), atol=1e-12, rtol=0)
        if hardness(*linear_model(triplet)) + MARGIN > 0:  # elsewhere the loss is flat and its maximisation stuck
            by_loss = naive_maximum(linear_model, triplet, lambda h: (h + MARGIN).relu())
            assert torch.allclose(moved, by_loss, atol=1e-12, rtol=0)
            with_loss += 1
    assert with_loss >= 3


def test_one_step_has_the_sign_of_the_hardness_gradient_below_the_destination(
    linear_model: Embedder, make_batch: MakeBatch
) -> None:
    """Pixels are kept off 0 and 1, so that a step shows the sign of every gradient."""
    batch = make_batch(16)
    batch.images.mul_(0.5).add_(0.25)
    for destination in ("1.5", "0.05"):
        defense = hm(Threat(eps=0.2, alpha=0.03, steps=1), destination=destination, early_stop=False)
        perturbed = defense.perturb(linear_model, batch)
        triplets = batch.images[perturbed.triplets.rows].requires_grad_()
        h = hardness(*linear_model(triplets.flatten(0, 1)).unflatten(0, (-1, 3)).unbind(1))
        (gradient,) = torch.autograd.grad(h.sum(), triplets)
        step = perturbed.images - triplets.detach()
        below = h.detach() < float(destination)
        assert below.any()
        assert torch.allclose(step[below], 0.03 * gradient[below].sign(), atol=1e-12, rtol=0)
        assert (step[~below] == 0).all()


@pytest.mark.parametrize("level", [0.0, 0.25, 1.0])
def test_every_destination_has_its_value(linear_model: Embedder, make_batch: MakeBatch, level: float) -> None:
    batch = make_batch()

    def target(name: str) -> list[float]:
        defense = hm(sampler="R", destination=name, xi=0.3)
        defense.load_state({"previous_loss": torch.tensor(level * MARGIN, dtype=torch.float64)})
        return [float(value) for value in defense.target(linear_model, batch)[1]]

    assert target("-0.7") == pytest.approx([-0.7] * 8)
    assert target("lga") == pytest.approx([-MARGIN * level] * 8)
    assert target("g_2") == pytest.approx([-MARGIN * level**2] * 8)
    assert target("g_1/2") == pytest.approx([-MARGIN * level**0.5] * 8)
    e, labels = linear_model(batch.images).detach(), batch.labels
    nearest = [min((e[a] - e[n]).norm() for n in range(16) if labels[n] != labels[a]) for a in range(8)]
    hardest = [float((e[a] - e[a + 8]).norm() - nearest[a]) for a in range(8)]
    assert target("H") == pytest.approx(hardest, abs=1e-9)
    assert target("g_B(H)") == pytest.approx([value + 0.3 * (1 - level) for value in hardest], abs=1e-9)


def test_early_stop_equals_the_full_loop(linear_model: Embedder, make_batch: MakeBatch) -> None:
    for destination in ("-0.3", "0", "0.2", "lga", "R"):
        short = hm(destination=destination).perturb(linear_model, make_batch(16))
        full = hm(destination=destination, early_stop=False).perturb(linear_model, make_batch(16))
        assert torch.equal(short.images, full.images), destination


def test_triplets_stop_at_their_destination(linear_model: Embedder, make_batch: MakeBatch) -> None:
    batch = make_batch(16)
    perturbed = hm(destination="0.1", threat=Threat(eps=0.3, alpha=0.01, steps=40)).perturb(linear_model, batch)
    assert perturbed.images is not None
    before = hardness(*linear_model(batch.images)[perturbed.triplets.rows].unbind(1))
    after = hardness(*linear_model(perturbed.images.flatten(0, 1)).unflatten(0, (-1, 3)).unbind(1))
    assert torch.equal(after[before >= 0.1], before[before >= 0.1])
    assert (after[before < 0.1] > before[before < 0.1]).all()
    assert float(after[before < 0.1].detach().max()) < 0.1 + 0.1  # at most one step past it


def test_gradual_destination_follows_the_previous_triplet_term(linear_model: Embedder, make_batch: MakeBatch) -> None:
    defense, batch = hm(), make_batch()
    for previous, level in ((2.0, 1.0), (0.2, 1.0), (0.05, 0.25), (0.0, 0.0)):
        defense.load_state({"previous_loss": torch.tensor(previous)})
        assert defense.target(linear_model, batch)[1].tolist() == pytest.approx([-MARGIN * level] * 8)


def test_the_previous_triplet_term_is_remembered_without_the_structure_term(
    linear_model: Embedder, make_batch: MakeBatch
) -> None:
    batch, threat = make_batch(), Threat(eps=0.6, alpha=0.1, steps=8)
    plain, structured = hm(threat, destination="1"), hm(threat, destination="1", ics=0.5)
    assert float(plain.state()["previous_loss"]) == float(structured.state()["previous_loss"]) == 2.0
    perturbed = plain.perturb(linear_model, batch)
    without = plain.loss(linear_model, batch, perturbed).item()
    assert structured.loss(linear_model, batch, perturbed).item() > without
    assert float(structured.state()["previous_loss"]) == float(plain.state()["previous_loss"]) == without


def test_the_loss_with_structure_equals_a_loop_with_its_gradients(
    linear_model: Embedder, make_batch: MakeBatch
) -> None:
    """Term by term from the embeddings, anchors and positives benign with gradient."""
    batch = make_batch()
    defense = hm(Threat(eps=0.6, alpha=0.1, steps=8), destination="1", ics=0.3, ics_margin=0.05)
    perturbed, loss, gradients = step(defense, linear_model, batch)

    def naive(structure_scale: float) -> Tensor:
        total = torch.zeros(()).double()
        for rows, images in zip(perturbed.triplets.rows, perturbed.images, strict=True):
            anchor, positive, negative = (linear_model(image[None])[0] for image in images)
            total = total + ((anchor - positive).norm() - (anchor - negative).norm() + MARGIN).clamp(min=0)
            benign_anchor, benign_positive = (linear_model(batch.images[row][None])[0] for row in rows[:2])
            gap = (benign_anchor - anchor).norm() - (benign_anchor - benign_positive).norm() + 0.05
            total = total + structure_scale * gap.clamp(min=0)
        return total / len(perturbed.images)

    expected = naive(0.3)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    assert expected.item() > naive(0.0).item()
    for ours, theirs in zip(gradients, torch.autograd.grad(expected, list(linear_model.parameters())), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12, rtol=0)


def test_structure_reaches_the_benign_anchor_and_positive() -> None:
    anchor, moved, positive = (unit_rows(9, 4, seed=seed).requires_grad_() for seed in range(3))
    gradients = torch.autograd.grad(intra_class_structure(anchor, moved, positive), [anchor, moved, positive])
    assert all(bool(gradient.abs().sum() > 0) for gradient in gradients)


def test_the_named_entry_is_put_together_from_its_parts() -> None:
    info = DEFENSES.get("hm-lga-ics")
    assert info.cls is HardnessManipulation
    params = resolve_params(info, {})
    assert (params["sampler"], params["destination"], params["ics"]) == ("S", "lga", 0.5)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"destination": "3"}, "out of range"),
        ({"destination": "nan"}, "unknown destination"),
        ({"destination": "g_B(x)"}, "unknown destination"),
        ({"destination": "x"}, "unknown destination"),
        ({"sampler": "x"}, "unknown sampler"),
        ({"ics": "-1"}, "negative"),
        ({"ics": "high"}, "valid number"),
        ({"ics": "nan"}, "finite"),
        ({"u": "0"}, "not positive"),
        ({"weight": "1"}, "no parameter 'weight'"),
    ],
)
def test_bad_parameters_are_named(params: dict[str, str], message: str) -> None:
    with pytest.raises(RbdmlError, match=message):
        resolve_params(DEFENSES.get("hm-lga-ics"), params)


def steps_by_hand(model: Embedder, batch: Batch, defense: HardnessManipulation) -> list[int]:
    """For each triplet on its own, at which step it is found at its destination (eta + 1: never; 0: at once)."""
    triplets = defense.perturb(model, batch).triplets
    target = -MARGIN  # of LGA before the first iteration
    result = []
    for rows in triplets.rows:
        found = defense.threat.steps + 1
        if hardness(*model(batch.images[rows])) >= target:
            found = 0
        else:
            for taken in range(defense.threat.steps):
                threat = defense.threat.model_copy(update={"steps": taken})
                x = pgd(model, batch.images[rows], lambda e, _: (target - hardness(*e)).relu().square(), threat=threat)
                if hardness(*model(x)) >= target:
                    found = taken + 1
                    break
        result.append(found)
    return result


def counted(defense: Defense, model: Embedder, batch: Batch) -> tuple[int, int, int]:
    with PropagationMeter(model.backbone) as meter:
        step(defense, model, batch)
    return meter.forward_only, meter.to_input, meter.to_weights


@pytest.mark.parametrize("eta", [1, 2, 8])
def test_cost_of_the_full_loop_equals_the_hand_count(linear_model: Embedder, make_batch: MakeBatch, eta: int) -> None:
    pairs = 8
    defense = hm(Threat(eps=0.2, alpha=0.03, steps=eta), ics=0.5, early_stop=False)
    # Mining: the batch forward. PGD: three images a triplet and step. Loss: the three, and two benign for ICS.
    assert counted(defense, linear_model, make_batch(pairs)) == (2 * pairs, 3 * pairs * eta, 3 * pairs + 2 * pairs)


@pytest.mark.parametrize("eta", [1, 2, 8])
@pytest.mark.parametrize("alpha", [0.002, 0.1], ids=["some finish", "all finish"])
def test_cost_with_early_stop_equals_the_hand_count(
    linear_model: Embedder, make_batch: MakeBatch, eta: int, alpha: float
) -> None:
    pairs = 16
    defense = hm(Threat(eps=0.2, alpha=alpha, steps=eta), ics=0.5)
    found = steps_by_hand(linear_model, make_batch(pairs), defense)
    assert 0 in found
    assert any(found)
    forward, to_input = 2 * pairs, 0
    for taken in range(1, eta + 1):
        under_attack = sum(first >= taken for first in found)
        if all(first <= taken for first in found):  # the last ones are found finished: no backward, and no more steps
            forward += 3 * under_attack
            break
        to_input += 3 * under_attack
    assert counted(defense, linear_model, make_batch(pairs)) == (forward, to_input, 5 * pairs)


@pytest.mark.parametrize(("sampler", "forward"), [("R", 0), ("S", 16)])
def test_cost_of_regular_training_equals_the_hand_count(
    linear_model: Embedder, make_batch: MakeBatch, sampler: str, forward: int
) -> None:
    defense = build_defense("regular", {"sampler": sampler}, THREAT)
    assert counted(defense, linear_model, make_batch(8)) == (forward, 0, 16)
    assert defense.nominal_cost == 1
    assert hm().nominal_cost == THREAT.steps + 1
