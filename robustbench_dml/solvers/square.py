"""The Square Attack: random search with square windows, by values alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_dml.solvers.ball import norms
from robustbench_dml.solvers.base import FORWARD, BestImages, Problem, Solver
from robustbench_dml.spec.registry import register_solver
from robustbench_dml.spec.schema import Threat
from robustbench_dml.utils.errors import RbdmlError

HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # proposals out of LENGTH, as in the authors' code
LENGTH = 10000
TILES = 5  # along the shorter side: the first perturbation in L2

Proposal = Callable[[Problem, Tensor, Tensor, int], Tensor]


@register_solver(
    "square",
    summary="black box: random search that changes the image in square windows",
    paper="Andriushchenko et al., ECCV 2020, arXiv:1912.00049",
)
@dataclass(kw_only=True)
class Square(Solver):
    """Keep random proposals that lower the value. `alpha` and `steps` are not used.

    Attributes:
        queries: evaluations of each image, the first perturbation included.
        p_init: share of the image's pixels in the first windows. It is halved nine times.
    """

    black_box: ClassVar[bool] = True

    queries: int = 1000
    p_init: float = 0.8

    def __post_init__(self) -> None:
        if self.queries < 1:
            raise RbdmlError(f"queries = {self.queries}: ask the model at least once")
        if not 0 < self.p_init <= 1:
            raise RbdmlError(f"p_init = {self.p_init}: a share of the pixels is above 0 and at most 1")

    def passes(self, threat: Threat) -> float:
        """See `Solver`."""
        return self.queries * FORWARD

    def run(self, problem: Problem) -> Tensor:
        ball = problem.ball
        linf = problem.threat.norm == "linf"
        first, propose = (stripes, flat_square) if linf else (tiles, moved_mass)
        start = ball.project(problem.images + first(problem))
        best = BestImages(start, problem.values(start, problem.rows))
        for proposal in range(self.queries - 1):
            draws = problem.uniform(5 + problem.images.shape[1], "proposal", proposal)
            side = self.side(problem, proposal)
            trial = ball.project(problem.images + propose(problem, best.images - problem.images, draws, side))
            best.update(trial, problem.values(trial, problem.rows))
        return best.images

    def side(self, problem: Problem, proposal: int) -> int:
        """Return the side of the window of a proposal, counted from 0, in pixels. It is odd for L2."""
        height, width = problem.images.shape[-2:]
        scaled = LENGTH * proposal // self.queries
        share = self.p_init / 2 ** sum(scaled > step for step in HALVED_AFTER)
        side = round(sqrt(share * height * width))
        if problem.threat.norm == "linf":
            return min(max(side, 1), height, width)
        side, most = max(side, 3), min(height, width)
        return min(side | 1, most - 1 + most % 2)


def stripes(problem: Problem) -> Tensor:
    """Draw (B, C, 1, W) vertical stripes of the full radius, with a random sign for each channel and column."""
    channels, _, width = problem.images.shape[1:]
    return problem.radius * _signs(problem.uniform(channels * width, "first")).view(-1, channels, 1, width)


def flat_square(problem: Problem, away: Tensor, draws: Tensor, side: int) -> Tensor:
    """Propose new perturbations, before projection: two radii up or down in a window of each channel.

    Args:
        problem: the attack.
        away: (B, C, H, W) perturbations.
        draws: (B, 5 + C) uniform numbers for the position of the window and the signs.
        side: side of the window.
    """
    inside = _window(away, draws[:, 0], draws[:, 1], side)
    return away + 2 * problem.radius * _signs(draws[:, 5:])[:, :, None, None] * inside


def tiles(problem: Problem) -> Tensor:
    """Draw (B, C, H, W) bumps on a grid of squares, with random signs and orientations, of the full radius in all."""
    batch, channels, height, width = problem.images.shape
    side = max(1, min(height, width) // TILES)
    down, across = height // side, width // side
    draws = problem.uniform(down * across * (1 + channels), "first").view(batch, 1 + channels, down, across)
    bump = _turned(bumps(side, problem.images), draws[:, :1] < 0.5)  # (B, 1, down, across, side, side)
    grid = _signs(draws[:, 1:])[..., None, None] * bump
    result = torch.zeros_like(problem.images)
    top, left = (height - down * side) // 2, (width - across * side) // 2
    result[:, :, top : top + down * side, left : left + across * side] = grid.transpose(3, 4).reshape(
        batch, channels, down * side, across * side
    )
    return problem.radius * result / norms(result)


def moved_mass(problem: Problem, away: Tensor, draws: Tensor, side: int) -> Tensor:
    """Propose new perturbations: empty a window and move its mass into another, as a bump.

    The unused part of the radius is added there, the same to each channel. Arguments as in `flat_square`.
    """
    (batch, channels, height, width), eps = away.shape, problem.radius
    filled = _window(away, draws[:, 0], draws[:, 1], side)
    emptied = _window(away, draws[:, 2], draws[:, 3], side)
    down = _start(draws[:, 0], height - side)[:, None] + torch.arange(side, device=away.device)
    across = _start(draws[:, 1], width - side)[:, None] + torch.arange(side, device=away.device)
    window = (
        torch.arange(batch, device=away.device)[:, None, None, None],
        torch.arange(channels, device=away.device)[:, None, None],
        down[:, None, :, None],
        across[:, None, None, :],
    )
    bump = _turned(bumps(side, away), draws[:, 4, None] < 0.5)  # (B, 1, side, side)
    shape = _unit(_signs(draws[:, 5:])[:, :, None, None] * bump + _unit(away[window]))
    unused = (eps**2 - norms(away).square()).clamp_min(0) / channels
    available = (_lengths(away * (filled | emptied)).square() + unused).sqrt()
    result = away.masked_fill(emptied, 0)
    result[window] = shape * available
    return result


def bumps(side: int, like: Tensor) -> Tensor:
    """Return (side, side) of length 1: a bump up in one half of the square, a bump down in the other."""
    upper = side // 2
    return _unit(torch.cat([_bump(upper, side, like), -_bump(side - upper, side, like)]))


def _bump(height: int, width: int, like: Tensor) -> Tensor:
    """Return (height, width): the sum of 1/j^2 from the distance to the centre plus one to that of the farther edge."""
    rows = (torch.arange(height, device=like.device) - height // 2).abs()
    columns = (torch.arange(width, device=like.device) - width // 2).abs()
    farthest = max(height, width) // 2
    terms = torch.arange(farthest + 1, 0, -1, device=like.device).to(like).square().reciprocal()
    return terms.cumsum(0).flip(0)[torch.maximum(rows[:, None], columns)]


def _turned(square: Tensor, which: Tensor) -> Tensor:
    """(...) bool, (s, s) -> (..., s, s): the square, or its transpose where true."""
    return torch.where(which[..., None, None], square.T, square)


def _window(images: Tensor, down: Tensor, across: Tensor, side: int) -> Tensor:
    """(B, 1, H, W) bool: the pixels in each image's window."""
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device) - _start(down, height - side)[:, None]
    columns = torch.arange(width, device=images.device) - _start(across, width - side)[:, None]
    inside = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None, :]
    return inside[:, None]


def _start(draw: Tensor, most: int) -> Tensor:
    """(B,) uniform numbers -> uniform integers from 0 to `most`."""
    return (draw * (most + 1)).long()


def _signs(draws: Tensor) -> Tensor:
    return 1 - 2 * (draws < 0.5).to(draws)


def _lengths(windows: Tensor) -> Tensor:
    """(..., h, w) -> (..., 1, 1)."""
    return torch.linalg.vector_norm(windows, dim=(-2, -1), keepdim=True)


def _unit(windows: Tensor) -> Tensor:
    return windows / _lengths(windows).clamp_min(1e-12)
