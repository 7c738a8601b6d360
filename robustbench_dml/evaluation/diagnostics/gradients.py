"""Checks of a model's embeddings and input gradients. They cost a few propagations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustbench_dml.evaluation.diagnostics.findings import Finding
from robustbench_dml.solvers.base import FORWARD
from robustbench_dml.utils.randomness import generator

DEAD = 0.1  # share of images without input gradient above which gradients count as masked
HUGE = 1e30  # replaces infinity, so that a direction remains
TINY = 1e-20  # an attack that averages smaller gradients over a gallery underflows in float32
REPEATED = 1e-4  # distance of two embeddings of the same image; above it, the difference is more than rounding
REPEATED_HALF = 2e-2  # the same for networks in half precision
STEP = 1 / 32 / 255  # of a pixel, for differences
NOISE = 4 / 255  # of a pixel: half of the differences are taken away from the images that a model may know
PASSES = 2 + 5 * FORWARD  # of the checks, for an image
FALSE = 0.5  # highest error of the gradient's promise, relative


def check_gradients(model: nn.Module, images: Tensor, benign: Tensor, *, seed: int) -> list[Finding]:
    """Check a sample of images.

    Args:
        model: maps images (S, C, H, W) to embeddings (S, D), in eval mode.
        images: (S, C, H, W).
        benign: (S, D) embeddings of the images in the gallery.
        seed: seed of the random direction whose gradient is taken. An honest network has a gradient along it.
    """
    images = images.detach()
    direction, exact, embeddings = _along(model, images, seed)
    # Attacks count a gradient that is not a number as zero.
    gradient = torch.zeros_like(images) if exact is None else exact.nan_to_num(0, HUGE, -HUGE)
    embeddings = embeddings.detach()
    with torch.no_grad():
        repeated = float(torch.linalg.vector_norm(model(images) - embeddings, dim=1).max())
    unmoved = float(torch.linalg.vector_norm(embeddings - benign, dim=1).max())
    dead = float((gradient.abs() < TINY).flatten(1).all(1).double().mean())
    coarse = any(weight.dtype.itemsize < 4 for weight in model.parameters() if weight.is_floating_point())
    limit = REPEATED_HALF if coarse else REPEATED
    noise = torch.rand(images.shape, generator=generator(seed, "check noise")).to(images)
    noisy = (images + NOISE * (2 * noise - 1)).clamp(0, 1)
    there = _along(model, noisy, seed)[1]
    error = max(_promise_error(model, each, taken, direction) for each, taken in ((images, exact), (noisy, there)))
    return [
        Finding("no gradient", {"images without gradient": dead}, dead > DEAD),
        Finding("false gradient", {"error of the gradient": error}, error > FALSE and not coarse),
        Finding("random", {"difference of two calls": repeated}, repeated > limit),
        Finding("not benign at eps 0", {"difference at eps 0": unmoved}, unmoved > limit),
    ]


def _along(model: nn.Module, images: Tensor, seed: int) -> tuple[Tensor, Tensor | None, Tensor]:
    """A random direction, the gradient of the embeddings along it (None without any), and the embeddings."""
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        embeddings = model(images)
        direction = torch.randn(embeddings.shape[1], generator=generator(seed, "check direction")).to(embeddings)
        along = (embeddings @ direction).sum()
        exact = torch.autograd.grad(along, images, allow_unused=True)[0] if along.requires_grad else None
    return direction, exact, embeddings


@torch.no_grad()
def _promise_error(model: nn.Module, images: Tensor, gradient: Tensor | None, direction: Tensor) -> float:
    """Compare a small step along the gradient with what the gradient promises.

    Returns:
        The median over images of |change / promise - 1|, 0 for an honest model but for rounding and curvature. Images
        without a promise do not count; without any the error is 0.
    """
    if gradient is None:
        return 0.0
    inside = (images >= STEP) & (images <= 1 - STEP)  # a model may clamp its pixels
    gradient = gradient.nan_to_num(0, 0, 0) * inside
    largest = gradient.abs().amax((1, 2, 3), keepdim=True)
    step = STEP * gradient / largest.clamp_min(TINY)
    promised = 2 * (gradient * step).sum((1, 2, 3))
    changed = (model(images + step) - model(images - step)) @ direction
    known = largest.flatten() > TINY
    errors = (changed[known].double() / promised[known].double() - 1).abs()
    return float(errors.median()) if len(errors) else 0.0
