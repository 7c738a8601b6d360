"""NES: gradient steps estimated from values alone, by a population of random trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_dml.solvers.ball import norms
from robustbench_dml.solvers.base import FORWARD, Problem, Solver, per_image
from robustbench_dml.spec.registry import register_solver
from robustbench_dml.spec.schema import Threat
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.randomness import normal_of

TRIALS_AT_ONCE = 1024  # images in one forward; bounds the memory and changes no noise


@register_solver(
    "nes",
    summary="black box: signed steps along a gradient estimated from 100 trials each",
    paper="Ilyas et al., ICML 2018, arXiv:1804.08598; with the settings of arXiv:2106.03614",
)
@dataclass(kw_only=True)
class NES(Solver):
    """Take `steps` steps of length `alpha` along the sign of the estimate (L2: along it). Returns the last iterate.

    The paper lets trials leave [0, 1]. Here trials stay in the ball and within the radius of the iterate, as in the
    published code for rankings: the model only sees images that an attacker could send. Large images get coarse noise,
    enlarged to the nearest pixel. This keeps the noise's deviation, which smooth interpolation would lower.

    Attributes:
        population: trials per step, in pairs of opposite noise.
        sigma: standard deviation of a pixel's noise, in radii.
        noise_side: largest side of the noise, in pixels.
    """

    black_box: ClassVar[bool] = True

    population: int = 100
    sigma: float = 2.0
    noise_side: int = 32

    def __post_init__(self) -> None:
        if self.population < 2 or self.population % 2:
            raise RbdmlError(f"population = {self.population}: trials come in pairs, ask for 2 or another even number")
        if not self.sigma > 0:
            raise RbdmlError(f"sigma = {self.sigma}: trials have to differ, ask for more than 0")
        if self.noise_side < 1:
            raise RbdmlError(f"noise_side = {self.noise_side}: noise has at least one pixel")

    def passes(self, threat: Threat) -> float:
        """See `Solver`."""
        return threat.steps * self.population * FORWARD

    def run(self, problem: Problem) -> Tensor:
        ball, images = problem.ball, problem.images
        for step in range(problem.threat.steps):
            estimate = self.estimate(problem, images, step)
            images = ball.descend(images, estimate)
        return images

    def estimate(self, problem: Problem, images: Tensor, step: int) -> Tensor:
        """Estimate the gradient at (B, C, H, W) images, up to a positive factor for each image."""
        ball = problem.ball
        at_once = max(1, TRIALS_AT_ONCE // max(1, 2 * len(images)))
        result = torch.zeros_like(images)
        for pair in range(0, self.population // 2, at_once):
            noise = self._noise(problem, step, pair, min(at_once, self.population // 2 - pair))
            trials = ball.project(images + torch.cat([noise, -noise]))  # (trials, B, C, H, W)
            values = problem.values(trials.flatten(0, 1), problem.rows.repeat(len(trials)))
            up, down = values.view(2, len(noise), len(images)).unbind()
            slopes = (up - down).nan_to_num(0, posinf=0, neginf=0)  # a pair with a trial without value does not count
            for along, slope in zip(noise, slopes, strict=True):  # one by one, so that the parts do not change the sum
                result = result + per_image(slope) * along
        return result

    def _noise(self, problem: Problem, step: int, pair: int, pairs: int) -> Tensor:
        """Draw (pairs, B, C, H, W) noise, none longer than the radius."""
        channels, height, width = problem.images.shape[1:]
        small = (channels, min(height, self.noise_side), min(width, self.noise_side))
        size = channels * small[1] * small[2]
        uniform = problem.uniform(pairs * size, "noise", step, first=pair * size)
        noise = normal_of(uniform).view(-1, *small)
        if small[1:] != (height, width):
            noise = F.interpolate(noise, size=(height, width), mode="nearest")
        eps = problem.radius
        noise = self.sigma * eps * noise.view(-1, pairs, channels, height, width).transpose(0, 1)
        if problem.threat.norm == "linf":
            most = eps * torch.ones_like(problem.images[:, :1, :1, :1])
            return noise.clamp(-most, most)
        return noise * (eps / norms(noise).clamp_min(1e-12)).clamp_max(1)
