"""Checks of attack strength on small models with known weaknesses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support import SMALL_IMAGE
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml.datasets.base import Split
from robustbench_dml.evaluation.context import AttackContext, make_context
from robustbench_dml.evaluation.diagnostics import Findings
from robustbench_dml.evaluation.diagnostics.strength import MASKED, check_strength
from robustbench_dml.evaluation.evaluate import attacked_values
from robustbench_dml.retrieval.gallery import Items
from robustbench_dml.solvers.base import Problem
from robustbench_dml.solvers.minimal_radius import UNIT, MinimalRadius
from robustbench_dml.spec.schema import Evaluation, SolverSpec, Threat
from robustbench_dml.utils.errors import RbdmlError

IMAGES, CLASSES = 40, 4
ROWS = torch.arange(0, IMAGES, 2)
THREAT = Threat(eps=0.1, alpha=0.02, steps=24)


def split() -> Split:
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(IMAGES) % CLASSES
    means = torch.rand(CLASSES, *SMALL_IMAGE, generator=rng)
    pixels = 0.5 * means[labels] + 0.5 * torch.rand(IMAGES, *SMALL_IMAGE, generator=rng)
    return Split((255 * pixels).to(torch.uint8), labels)


class Honest(nn.Module):
    """A linear network. Subclasses hide its weakness."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.network = nn.Sequential(nn.Flatten(), nn.Linear(16, 6)).double()

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.network(images), dim=1)


class TurnedGradient(Honest):
    """The true embedding, with the gradient of another network: there is one, and it leads nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.other = Honest(seed=1)

    def forward(self, images: Tensor) -> Tensor:
        shown = self.other(images)
        return super().forward(images).detach() + shown - shown.detach()


class Flat(nn.Module):
    """The pixels, scaled to unit length."""

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(images.double().flatten(1), dim=1)


class Constant(Honest):
    """Nothing moves at any radius."""

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(torch.ones(len(images), 6).double() + 0 * images.flatten(1)[:, :6], dim=1)


def check(model: nn.Module, threat: Threat = THREAT, surrogate: nn.Module | None = None) -> Findings:
    evaluation = Evaluation(protocol="ers", threat=threat, queries=None, seed=0)
    device = torch.device("cpu")
    other = surrogate and make_context(surrogate, split(), evaluation=evaluation, dataset="small", device=device)
    context = make_context(
        model, split(), evaluation=evaluation, dataset="small", device=device, surrogate=other or None
    )
    with torch.no_grad():
        return Findings(tuple(check_strength(context, Items(context.gallery, ROWS))))


def test_an_honest_model_under_attacks_that_suffice_raises_nothing() -> None:
    findings = check(Honest(), surrogate=Honest(seed=3))
    assert findings.flags == []
    assert findings.measured["recall at 1 with any image allowed"] <= 0.1
    assert findings.measured["MR lost without gradients"] < MASKED


def test_stronger_searches_lower_the_mean_radius_only() -> None:
    by_pgd, by_gradients, by_all = (
        check(Honest()).measured[f"MR by {kind}"] for kind in ("PGD", "gradients", "all checks")
    )
    assert 1 < by_all <= by_gradients < 1.02 * by_pgd


def test_the_mean_radius_is_that_of_the_protocol() -> None:
    solver = SolverSpec(name="minimal-radius", params=vars(MinimalRadius()))
    evaluation = Evaluation(protocol="radius", threat=THREAT, queries=None, seed=0, solver=solver)
    context = make_context(Honest(), split(), evaluation=evaluation, dataset="small", device=torch.device("cpu"))
    exact = attacked_values(context, ROWS)["MR:Q"].mean() / UNIT
    assert check(Honest()).measured["MR by all checks"] == pytest.approx(float(exact), rel=0.05)


def test_steps_too_short_for_the_radius_are_reported_and_do_not_disqualify() -> None:
    findings = check(Honest(), Threat(eps=0.3, alpha=0.001, steps=10))
    assert findings.flags == ["PGD overstates"]
    assert findings.disqualifying == []


@pytest.mark.parametrize("surrogate", [None, Honest()])
def test_useless_gradients_are_detected_by_searches_without_gradients(surrogate: nn.Module | None) -> None:
    findings = check(TurnedGradient(), surrogate=surrogate)
    assert "masked gradients" in findings.disqualifying
    assert findings.measured["MR by all checks"] < 0.9 * findings.measured["MR by gradients"]


def test_a_linear_model_with_one_gradient_for_all_images_is_honest() -> None:
    """The direction of its gradient hardly depends on the image: the searches decide."""
    findings = check(Flat())
    assert findings.disqualifying == []


def test_a_model_that_resists_every_image_is_not_believed() -> None:
    findings = check(Constant())
    assert "large eps resisted" in findings.disqualifying
    assert findings.measured["recall at 1 with any image allowed"] > 0.1


def test_a_model_without_a_value_where_an_attack_leads_is_refused() -> None:
    class Undefined(Honest):
        """None for images that are not those of the split."""

        def forward(self, images: Tensor) -> Tensor:
            known = (255 * images - (255 * images).round()).abs().flatten(1).amax(1, keepdim=True) < 1e-3
            return torch.where(known, super().forward(images), torch.nan)

    with pytest.raises(RbdmlError, match="embeddings of attacked images are not finite"):
        check(Undefined(), Threat(eps=0.1, alpha=0.0123, steps=24))


def test_every_search_is_compared_in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lead of one over another is not to be the rounding of half precision."""
    seen: list[str] = []
    problem_of = AttackContext.problem

    def watched(self: AttackContext, *given: Any, **named: Any) -> Problem:
        seen.append(self.evaluation.precision)
        return problem_of(self, *given, **named)

    monkeypatch.setattr(AttackContext, "problem", watched)
    evaluation = Evaluation(protocol="ers", threat=THREAT, queries=None, seed=0, precision="bf16")
    device = torch.device("cpu")
    other = make_context(Honest(seed=3), split(), evaluation=evaluation, dataset="small", device=device)
    context = make_context(Honest(), split(), evaluation=evaluation, dataset="small", device=device, surrogate=other)
    check_strength(context, Items(context.gallery, ROWS[:4]))
    assert set(seen) == {"fp32"}
    assert len(seen) >= 3  # a large radius, the searches, and those on the surrogate


@pytest.mark.parametrize("threat", [THREAT.model_copy(update={"steps": 0}), THREAT.model_copy(update={"eps": 0.0})])
def test_without_an_attack_only_the_large_radius_is_checked(threat: Threat) -> None:
    assert set(check(Honest(), threat).measured) == {"recall at 1 with any image allowed"}


def test_l2_is_attacked_in_l2() -> None:
    findings = check(Honest(), Threat(norm="l2", eps=0.4, alpha=0.08, steps=24))
    assert findings.disqualifying == []
    assert findings.measured["recall at 1 with any image allowed"] <= 0.1
