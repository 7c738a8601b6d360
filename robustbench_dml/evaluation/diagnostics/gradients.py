"""Checks of a model's embeddings and input gradients. They cost a few propagations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustbench_dml.evaluation.diagnostics.findings import Finding
from robustbench_dml.utils.randomness import generator

DEAD = 0.1  # share of images without input gradient above which gradients count as masked
HUGE = 1e30  # replaces infinity, so that a direction remains
TINY = 1e-20  # an attack that averages smaller gradients over a gallery underflows in float32
REPEATED = 1e-4  # distance of two embeddings of the same image; above it, the difference is more than rounding
REPEATED_HALF = 2e-2  # the same for networks in half precision


def check_gradients(model: nn.Module, images: Tensor, benign: Tensor, *, seed: int) -> list[Finding]:
    """Check a sample of images.

    Args:
        model: maps images (S, C, H, W) to embeddings (S, D), in eval mode.
        images: (S, C, H, W).
        benign: (S, D) embeddings of the images in the gallery.
        seed: seed of the random direction whose gradient is taken. An honest network has a gradient along it.
    """
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        embeddings = model(images)
        direction = torch.randn(embeddings.shape[1], generator=generator(seed, "check direction")).to(embeddings)
        along = (embeddings @ direction).sum()
        exact = torch.autograd.grad(along, images, allow_unused=True)[0] if along.requires_grad else None
    # Attacks count a gradient that is not a number as zero.
    gradient = torch.zeros_like(images) if exact is None else exact.nan_to_num(0, HUGE, -HUGE)
    embeddings = embeddings.detach()
    with torch.no_grad():
        repeated = float(torch.linalg.vector_norm(model(images) - embeddings, dim=1).max())
    unmoved = float(torch.linalg.vector_norm(embeddings - benign, dim=1).max())
    dead = float((gradient.abs() < TINY).flatten(1).all(1).double().mean())
    coarse = any(weight.dtype.itemsize < 4 for weight in model.parameters() if weight.is_floating_point())
    limit = REPEATED_HALF if coarse else REPEATED
    return [
        Finding("no gradient", {"images without gradient": dead}, dead > DEAD),
        Finding("random", {"difference of two calls": repeated}, repeated > limit),
        Finding("not benign at eps 0", {"difference at eps 0": unmoved}, unmoved > limit),
    ]
