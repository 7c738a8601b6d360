"""Minimal radius: the least perturbation that breaks an image, by bisection over radii."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_dml.solvers.apgd import AutoPGD
from robustbench_dml.solvers.base import Problem, Solver
from robustbench_dml.solvers.blend import Blend
from robustbench_dml.solvers.least_radii import LeastRadii
from robustbench_dml.solvers.square import Square
from robustbench_dml.spec.registry import register_solver
from robustbench_dml.spec.schema import Threat
from robustbench_dml.utils.errors import RbdmlError

Search = Callable[[Problem], Tensor]  # -> (B, C, H, W) images in the problem's ball

UNIT = 1 / 255  # unit of radii that users give


@register_solver(
    "minimal-radius",
    summary="of the protocol radius: blend, descents in a ball that shrinks, Square and transfer",
    paper="of this project; the ball that shrinks is that of Pintor et al., NeurIPS 2021, arXiv:2102.12827",
)
@dataclass(kw_only=True)
class MinimalRadius(Solver):
    """The threat's radius is the largest that counts; `alpha` and `steps` of the threat are not used.

    Attributes:
        named: radii in 1/255 at which the protocol `radius` reports recall, divided by commas.
        finest: least radius of the bisection, in 1/255.
        per_octave: radii of the bisection between a radius and its double.
        steps: steps of each descent.
        rounds: rounds of descents, Square and transfer. A round takes the images that the previous round improved.
        square_queries: queries of Square in each round.
    """

    named: str = "4,8,16"
    finest: float = 0.25
    per_octave: int = 4
    steps: int = 40
    rounds: int = 2
    square_queries: int = 150

    def __post_init__(self) -> None:
        for name in ("per_octave", "steps", "rounds", "square_queries"):
            if getattr(self, name) < 1:
                raise RbdmlError(f"{name} = {getattr(self, name)}: give at least one")
        if not 0 < self.finest < math.inf:
            raise RbdmlError(f"finest = {self.finest}: the least radius of the bisection is above 0")
        radii = self.named_radii
        if not all(0 < radius < math.inf for radius in radii) or sorted(set(radii)) != list(radii):
            raise RbdmlError(f"named = {self.named!r}: give rising radii above 0, in 1/255, such as '4,8,16'")

    @property
    def named_radii(self) -> tuple[float, ...]:
        """Radii at which recall is reported, in 1/255.

        Raises:
            RbdmlError: they are no numbers.
        """
        try:
            return tuple(map(float, self.named.split(",")))
        except ValueError:
            raise RbdmlError(f"named = {self.named!r}: give numbers divided by commas, such as '4,8,16'") from None

    def grid(self, cap: float) -> list[float]:
        """Radii of the bisection up to a cap, as parts of the pixel range."""
        return radius_grid(self.finest * UNIT, cap, per_octave=self.per_octave)

    @property
    def square(self) -> Square:
        """Its search without gradients."""
        return Square(queries=self.square_queries)

    def blend(self, problem: Problem, least: LeastRadii) -> None:
        """Find first radii on the lines to other images, without a gradient."""
        bisect(problem, least, Blend().run, self.grid(least.cap), stage=0)

    def blend_passes(self, cap: float) -> float:
        """Passes of `blend` on one image, at most; the benign image and the judged image are forwarded as well."""
        return math.ceil(math.log2(len(self.grid(cap)) + 1)) * (Blend.guides + 2) / 3

    def passes(self, threat: Threat) -> float:
        """Return the passes of `run`; an attack on radii states its own."""
        return AutoPGD().passes(threat.model_copy(update={"steps": self.steps}))

    def run(self, problem: Problem) -> Tensor:
        """Run APGD at the full radius: an objective alone has no value at which an image counts as broken."""
        radii = problem.images.new_full((len(problem),), problem.threat.eps)
        return AutoPGD().run(problem.within(radii, steps=self.steps))


def radius_grid(finest: float, cap: float, *, per_octave: int) -> list[float]:
    """Radii from the finest to the cap, in steps of a constant factor; the last step is shorter."""
    steps = math.ceil(round(per_octave * math.log2(cap / finest), 9)) if cap > finest else 0
    return [*(finest * 2 ** (step / per_octave) for step in range(steps)), cap]


def bisect(
    problem: Problem, least: LeastRadii, search: Search, grid: list[float], *, stage: int, rows: Tensor | None = None
) -> None:
    """Find for each image the first radius of a grid at which a search breaks the image.

    Args:
        problem: B images.
        least: the radii of the images; lower radii are kept here.
        search: the search, at a separate radius for each image.
        grid: rising radii.
        stage: the stage number stored with lower radii.
        rows: (n,) the images to search for; all by default.
    """
    rows = problem.rows if rows is None else rows
    radii = torch.tensor(grid, dtype=torch.float64, device=least.radii.device)
    high = torch.searchsorted(radii, least.radii * (1 - 1e-6))  # broken at this radius; beyond the grid if at none
    low = torch.full_like(high, -1)
    while len(rows := rows[high[rows] - low[rows] > 1]):
        middle = (low[rows] + high[rows]) // 2
        part = problem.take(rows).within(radii[middle], steps=problem.threat.steps)
        broken = least.offer(search(part), rows, stage)
        high[rows] = torch.where(broken, middle, high[rows])
        low[rows] = torch.where(broken, low[rows], middle)
