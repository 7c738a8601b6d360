"""The contract of a solver, which finds perturbations for any attack.

A solver gets images, the ball that they may move in, and an objective with one value for each image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustbench_dml.solvers.ball import Ball
from robustbench_dml.solvers.guides import Guides
from robustbench_dml.spec.schema import Threat
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.randomness import Key, uniform_per_item

FORWARD = 1 / 3  # passes of a forward without backward


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One attack on B images.

    Attributes:
        model: maps images (n, C, H, W) to embeddings (n, D), in eval mode.
        images: (B, C, H, W) benign images, float in [0, 1].
        objective: maps embeddings (n, D) and the (n,) rows of their images to (n,) values to minimise. A row may occur
            several times, or never.
        threat: norm, radius, step length and number of steps.
        items: (B,) identity of each image, so that random numbers do not depend on the batch.
        key: purpose of the random numbers.
        rows: (B,) all rows, 0 to B - 1.
        surrogate: the same attack on the surrogate model, if the evaluation has a surrogate.
        guides: images that each image can be moved towards, if there are any.
        sample: poses the same attack on a number of images drawn from the gallery, the same in every batch.
        radii: (B,) a radius for each image instead of the threat's.
        watch: called with the (n,) values and (n,) rows of every evaluation of the objective.

    A value or gradient that is not a number is no success of the attack: the value counts as infinite, the gradient as
    zero.
    """

    model: nn.Module
    images: Tensor
    objective: Callable[[Tensor, Tensor], Tensor]
    threat: Threat
    items: Tensor
    key: tuple[Key, ...]
    rows: Tensor
    surrogate: Callable[[], Problem] | None = None
    guides: Callable[[], Guides] | None = None
    sample: Callable[[int], Problem] | None = None
    radii: Tensor | None = None
    watch: Callable[[Tensor, Tensor], None] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def ball(self) -> Ball:
        """The perturbation set of the images."""
        return Ball(self.images, self.threat, self.radii)

    @property
    def radius(self) -> float | Tensor:
        """The radius of all images, or (B, 1, 1, 1) one for each."""
        return self.threat.eps if self.radii is None else per_image(self.radii)

    def take(self, rows: Tensor) -> Problem:
        """The same attack on the images in the (n,) rows. `watch` still gets the rows of the whole problem."""
        surrogate, watch, guides = self.surrogate, self.watch, self.guides
        return replace(
            self,
            images=self.images[rows],
            objective=lambda embeddings, own: self.objective(embeddings, rows[own]),
            items=self.items[rows],
            rows=torch.arange(len(rows), device=self.rows.device),
            surrogate=None if surrogate is None else lambda: surrogate().take(rows),
            guides=None if guides is None else lambda: guides().take(rows),
            radii=None if self.radii is None else self.radii[rows],
            watch=None if watch is None else lambda values, own: watch(values, rows[own]),
        )

    def within(self, radii: Tensor, *, steps: int) -> Problem:
        """The same attack with (B,) radii and another number of steps, on the surrogate too."""
        surrogate = self.surrogate
        return replace(
            self,
            radii=radii.to(self.images),
            threat=self.threat.model_copy(update={"steps": steps}),
            surrogate=None if surrogate is None else lambda: surrogate().within(radii, steps=steps),
        )

    @torch.no_grad()
    def values(self, images: Tensor, rows: Tensor) -> Tensor:
        """Map (n, C, H, W) trial images of the (n,) rows to (n,) values. Costs a forward."""
        return self._watched(self.objective(self.model(images), rows), rows)

    def gradient(self, images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return (n,) values and their (n, C, H, W) gradient, zero if the model has none. Costs a pass."""
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            # A view, because autocast would keep the cast images of every step if they were leaves.
            values = self.objective(self.model(images.view_as(images)), rows)
        known = self._watched(values.detach(), rows)
        if not values.requires_grad:  # the model cut the graph
            return known, torch.zeros_like(images)
        (gradient,) = torch.autograd.grad(values, images, torch.ones_like(values), allow_unused=True)
        return known, torch.zeros_like(images) if gradient is None else gradient.nan_to_num(0)

    def uniform(self, draws: int, *purpose: Key, first: int = 0) -> Tensor:
        """Return (B, draws) uniform numbers in [0, 1), on the device and in the precision of the images.

        Every image has an endless sequence of numbers for each purpose; these begin at position `first`.
        """
        exact = uniform_per_item(self.items, draws, key=(*self.key, *purpose), first=first)
        drawn = exact.to(self.images)
        return drawn.clamp_max_(1 - torch.finfo(drawn.dtype).eps / 2)  # rounding can reach 1

    def start(self, restart: int, *, random: bool) -> Tensor:
        """Return the (B, C, H, W) start of a restart: benign images, or random images from the ball."""
        if not random:
            return self.images
        return self.ball.random(self.uniform(self.images.shape[1:].numel() + 1, "start", restart))

    def _watched(self, values: Tensor, rows: Tensor) -> Tensor:
        values = values.masked_fill(values.isnan(), torch.inf)
        if self.watch is not None:
            self.watch(values, rows)
        return values


class BestImages:
    """The image of lowest value so far for each of B images.

    Attributes:
        images: (B, C, H, W).
        values: (B,), theirs.
    """

    def __init__(self, images: Tensor, values: Tensor) -> None:
        self.images, self.values = images, values

    def update(self, images: Tensor, values: Tensor) -> Tensor:
        """Keep the images whose value is lower. Return (B,) true if kept."""
        lower = values < self.values
        self.images = torch.where(per_image(lower), images, self.images)
        self.values = torch.where(lower, values, self.values)
        return lower


def per_image(values: Tensor) -> Tensor:
    """Reshape (B,) numbers to (B, 1, 1, 1), so that they broadcast over images."""
    return values[:, None, None, None]


@dataclass(kw_only=True)
class Solver(ABC):
    """Finds perturbations. Subclasses are dataclasses whose fields are parameters (bool, int, float or str)."""

    black_box: ClassVar[bool] = False  # uses no gradient of the attacked model
    needs_surrogate: ClassVar[bool] = False

    @abstractmethod
    def run(self, problem: Problem) -> Tensor:
        """Return (B, C, H, W) perturbed images in the problem's ball, without gradient. Called without gradient."""

    def passes(self, threat: Threat) -> float:
        """Return the image passes that `run` costs for each image; one a step unless a solver states otherwise."""
        return float(threat.steps)


@dataclass(kw_only=True)
class Restarting(Solver):
    """A solver with restarts that returns the best result for each image.

    Attributes:
        random_start: start from a random image of the ball; otherwise the first start is the benign image.
        restarts: number of starts. All but the first are random.
    """

    random_start: bool = False
    restarts: int = 1

    def __post_init__(self) -> None:
        if self.restarts < 1:
            raise RbdmlError(f"restarts = {self.restarts}: search at least once")

    @abstractmethod
    def run_from(self, problem: Problem, start: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return (B, C, H, W) perturbed images from this start, and their (B,) values if they are known."""

    def run_restart(self, problem: Problem, number: int) -> tuple[Tensor, Tensor | None]:
        """Run one of the restarts, counted from 0; returns as `run_from`."""
        return self.run_from(problem, problem.start(number, random=self.random_start or number > 0))

    def attempt_passes(self, threat: Threat) -> float:
        """Return the image passes of one restart."""
        return float(threat.steps)

    def passes(self, threat: Threat) -> float:
        """See `Solver`."""
        one = self.restarts == 1  # several ends are compared by their values
        return self.attempt_passes(threat) if one else self.restarts * (threat.steps + FORWARD)

    def run(self, problem: Problem) -> Tensor:
        first, values = self.run_restart(problem, 0)
        if self.restarts == 1:  # nothing to compare, so no value is needed
            return first
        best = BestImages(first, problem.values(first, problem.rows) if values is None else values)
        for number in range(1, self.restarts):
            images, values = self.run_restart(problem, number)
            best.update(images, problem.values(images, problem.rows) if values is None else values)
        return best.images
