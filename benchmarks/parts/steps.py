"""Gain of each optimisation: one PGD pass of the images of an HM iteration.

Each row adds one optimisation to the rows above it, from the straightforward version to the package's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from measure import Case, fastest
from straightforward.model import Plain, plain_stem
from torch import nn

from parts.training import PAIRS, dataset
from robustbench_dml.models.embedder import build_embedder
from robustbench_dml.spec.registry import BACKBONES
from robustbench_dml.utils.memory import keep_freed_memory
from robustbench_dml.utils.precision import weights_unchanged

ROUNDS = 1
STEPS = (
    "plain float32, weight gradients",
    "gradients of the input only",
    "channels last",
    "freed memory kept",
    "bfloat16",
    "weights cast once",
    "gradient to the images by blocks",
)


def one_pass(backbone: str, step: int, device: torch.device) -> dict[str, float]:
    """Return the seconds of one image."""
    if step >= STEPS.index("freed memory kept") and device.type == "cpu":
        keep_freed_memory()
    embedder = build_embedder(BACKBONES.get(backbone), seed=0, device=device).eval()
    model: nn.Module = embedder
    if step < STEPS.index("gradient to the images by blocks"):
        plain_stem(embedder)
    if step < STEPS.index("channels last"):
        model = Plain(embedder).to(device).eval()
    images = torch.rand(3 * PAIRS[backbone], *dataset(backbone).image_shape, device=device)
    kept: Callable[[], AbstractContextManager[None]] = nullcontext
    if step >= STEPS.index("weights cast once"):
        kept = partial(weights_unchanged, device)

    def work() -> None:
        moved = images.detach().requires_grad_()
        value = model(moved).sum()
        if step == 0:
            model.zero_grad()
            value.backward()
        else:
            torch.autograd.grad(value, moved)

    with embedder.in_precision("bf16" if step >= STEPS.index("bfloat16") else "fp32"), kept():
        repeat = 5 if backbone == "c2f2" or device.type == "cuda" else 1
        return {"seconds": fastest(work, device, repeat=repeat) / len(images)}


CASES: dict[str, Case] = {
    f"{backbone}: {name}": partial(one_pass, backbone, step) for backbone in PAIRS for step, name in enumerate(STEPS)
}


def rows(found: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Return a row for each optimisation, with its gain and the gain so far."""
    table = []
    for step, name in enumerate(STEPS):
        row: dict[str, Any] = {"one pass": name}
        for backbone in PAIRS:
            seconds = [found[f"{backbone}: {each}"]["seconds"] for each in STEPS[: step + 1]]
            row[f"{backbone} ms an image"] = 1000 * seconds[-1]
            row[f"{backbone} x"] = seconds[0] / seconds[-1]
        table.append(row)
    return table
