"""Tricks that hide gradients: none may rank above the honest model that it was made from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml.datasets.base import Split
from robustbench_dml.evaluation.context import AttackContext, make_context
from robustbench_dml.evaluation.diagnostics import Findings
from robustbench_dml.evaluation.diagnostics.strength import check_strength
from robustbench_dml.evaluation.ensemble import run_attack
from robustbench_dml.retrieval.gallery import Items
from robustbench_dml.solvers.minimal_radius import UNIT, MinimalRadius
from robustbench_dml.spec.schema import Evaluation, SolverSpec, Threat

SIDE, IMAGES = 8, 48
ROWS = torch.arange(0, IMAGES, 2)
SLACK = 1.02  # the search finds radii up to 2% above the least ones


def split() -> Split:
    rng, labels = torch.Generator().manual_seed(0), torch.arange(IMAGES) % 4
    means = F.interpolate(torch.rand(4, 1, 4, 4, generator=rng), SIDE)
    pixels = 0.5 * means[labels] + 0.5 * torch.rand(IMAGES, 1, SIDE, SIDE, generator=rng)
    return Split((255 * pixels).to(torch.uint8), labels)


class Honest(nn.Module):
    """A small network. Subclasses hide its gradient."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(SIDE**2, 32).double(), nn.Linear(32, 8).double()

    def hidden(self, images: Tensor) -> Tensor:
        return F.relu(self.first(images.double().flatten(1) - 0.5))

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.last(self.hidden(images)), dim=1)


class Quantised(Honest):
    """Coordinates of the embedding rounded to 8 levels a unit, with the gradient of the unrounded ones."""

    def forward(self, images: Tensor) -> Tensor:
        exact = super().forward(images)
        return F.normalize(exact + ((8 * exact).round() / 8 - exact).detach(), dim=1)


class WinnersTakeAll(Honest):
    """Only the 8 largest of the 32 hidden values stay (k-WTA, arXiv:1905.10510): steps without a gradient."""

    def hidden(self, images: Tensor) -> Tensor:
        values = super().hidden(images)
        return values * (values >= values.topk(8, dim=1).values[:, -1:])


class Resized(Honest):
    """Images reduced and enlarged by copying pixels, with the identity as gradient."""

    def hidden(self, images: Tensor) -> Tensor:
        small = F.interpolate(images, SIDE - 3, mode="nearest-exact")
        return super().hidden(images + (F.interpolate(small, SIDE, mode="nearest-exact") - images).detach())


class Saturated(Honest):
    """A steep tanh: gradients vanish, and only signs are left."""

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(torch.tanh(1e3 * super().forward(images)), dim=1)


def context(model: nn.Module) -> AttackContext:
    solver = SolverSpec(name="minimal-radius", params=vars(MinimalRadius()))
    threat = Threat(eps=0.3, alpha=0.02, steps=24)
    evaluation = Evaluation(protocol="radius", threat=threat, queries=None, seed=0, solver=solver)
    return make_context(model, split(), evaluation=evaluation, dataset="small", device=torch.device("cpu"))


@torch.no_grad()
def measured(model: nn.Module) -> tuple[float, Findings]:
    place = context(model)
    items = Items(place.gallery, ROWS)
    radii = run_attack(place, "radius-query", items)["MR:Q"]
    return float(radii.mean()) / UNIT, Findings(tuple(check_strength(place, items)))


@pytest.fixture(scope="module")
def honest() -> float:
    radius, findings = measured(Honest())
    assert findings.disqualifying == []
    return radius


@pytest.mark.parametrize("trick", [Quantised, WinnersTakeAll, Resized, Saturated])
def test_hidden_gradients_gain_no_rank(trick: type[Honest], honest: float) -> None:
    radius, findings = measured(trick())
    assert findings.disqualifying or radius <= SLACK * honest
