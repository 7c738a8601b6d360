"""The contract of a solver: what searches for a perturbation, whatever the attack wants of it.

A solver sees images, a ball that they may move in, and a value for each image that is to fall.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustbench_dml.solvers.ball import Ball
from robustbench_dml.spec.schema import Threat
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.randomness import Key, uniform_per_item


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One attack on B images.

    Attributes:
        model: images (n, C, H, W) to embeddings (n, D), in eval mode.
        images: (B, C, H, W) benign images, float in [0, 1].
        objective: embeddings (n, D) and the (n,) rows of the images that they are of -> (n,), to be minimised. A row
            may come several times, or not at all.
        threat: radius, step, number of steps, norm.
        items: (B,) what each image is, for randomness that does not depend on the batch.
        key: what the randomness is for.
        rows: (B,) all rows, 0 to B - 1.
        surrogate: the same attack on another model, to transfer from; None where there is none.
        watch: called with the (n,) values and (n,) rows of every evaluation of the objective.

    A value or a gradient that is not a number is no success of the attack: the value counts as infinite, the gradient
    as zero.
    """

    model: nn.Module
    images: Tensor
    objective: Callable[[Tensor, Tensor], Tensor]
    threat: Threat
    items: Tensor
    key: tuple[Key, ...]
    rows: Tensor
    surrogate: Callable[[], Problem] | None = None
    watch: Callable[[Tensor, Tensor], None] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def ball(self) -> Ball:
        """What the images may become."""
        return Ball(self.images, self.threat)

    def take(self, rows: Tensor) -> Problem:
        """The same attack on the images in the (n,) rows; what is watched keeps the numbers of its rows."""
        surrogate, watch = self.surrogate, self.watch
        return replace(
            self,
            images=self.images[rows],
            objective=lambda embeddings, own: self.objective(embeddings, rows[own]),
            items=self.items[rows],
            rows=torch.arange(len(rows), device=self.rows.device),
            surrogate=None if surrogate is None else lambda: surrogate().take(rows),
            watch=None if watch is None else lambda values, own: watch(values, rows[own]),
        )

    @torch.no_grad()
    def values(self, images: Tensor, rows: Tensor) -> Tensor:
        """(n, C, H, W) trial images of the (n,) rows -> (n,) values; costs a forward."""
        return self._watched(self.objective(self.model(images), rows), rows)

    def gradient(self, images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) values and their (n, C, H, W) gradient, zero where the model has none; costs a pass."""
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            # A view: autocast keeps the cast of every leaf that wants a gradient, and would keep each step's images.
            values = self.objective(self.model(images.view_as(images)), rows)
        known = self._watched(values.detach(), rows)
        if not values.requires_grad:  # the model cut the graph
            return known, torch.zeros_like(images)
        (gradient,) = torch.autograd.grad(values, images, torch.ones_like(values), allow_unused=True)
        return known, torch.zeros_like(images) if gradient is None else gradient.nan_to_num(0)

    def uniform(self, draws: int, *purpose: Key, first: int = 0) -> Tensor:
        """(B, draws) numbers in [0, 1) that belong to each image, on its device and in its precision.

        They stand at `first` and behind it in the image's endless row of numbers for this purpose.
        """
        exact = uniform_per_item(self.items, draws, key=(*self.key, *purpose), first=first)
        drawn = exact.to(self.images)
        return drawn.clamp_max_(1 - torch.finfo(drawn.dtype).eps / 2)  # rounding can reach 1

    def start(self, restart: int, *, random: bool) -> Tensor:
        """(B, C, H, W) where a search begins: the benign images, or random ones from the ball."""
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
        """Keep the images whose value is lower; returns (B,) which of them were."""
        lower = values < self.values
        self.images = torch.where(per_image(lower), images, self.images)
        self.values = torch.where(lower, values, self.values)
        return lower


def per_image(values: Tensor) -> Tensor:
    """Reshape (B,) numbers to (B, 1, 1, 1), so that they broadcast over images."""
    return values[:, None, None, None]


@dataclass(kw_only=True)
class Solver(ABC):
    """A way to search. Subclasses are dataclasses whose fields are their parameters (bool, int, float or str)."""

    black_box: ClassVar[bool] = False  # uses no gradient of the attacked model
    needs_surrogate: ClassVar[bool] = False

    @abstractmethod
    def run(self, problem: Problem) -> Tensor:
        """(B, C, H, W) perturbed images in the problem's ball, without gradient. Called outside of any gradient."""


@dataclass(kw_only=True)
class Restarting(Solver):
    """A solver that can be started several times; the best end of each image is kept.

    Attributes:
        random_start: begin at a random place of the ball; otherwise the first start is at the benign image.
        restarts: how many starts; all but the first are random.
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

    def run(self, problem: Problem) -> Tensor:
        first, values = self.run_restart(problem, 0)
        if self.restarts == 1:  # nothing to compare, so no value is needed
            return first
        best = BestImages(first, problem.values(first, problem.rows) if values is None else values)
        for number in range(1, self.restarts):
            images, values = self.run_restart(problem, number)
            best.update(images, problem.values(images, problem.rows) if values is None else values)
        return best.images
