"""The trial of a stranger's model: what an evaluation will do with it, on a few images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robustbench_dml.datasets.base import Dataset
from robustbench_dml.models.wrappers import InBfloat16, InOwnPrecision
from robustbench_dml.spec.schema import Precision
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.precision import products_in

TRIED = 4  # images in the larger of the two batches


def in_eval_mode(model: nn.Module) -> nn.Module:
    """Put a model into eval mode and return it, whatever its own `train` returns."""
    model.eval()
    return model


def tried(
    model: nn.Module,
    dataset: Dataset,
    device: torch.device,
    precision: Precision,
    *,
    name: str,
    failure: Callable[[BaseException], str],
) -> Tensor:
    """Return the embeddings of some test images after a trial.

    Batches of several images and of one are embedded, their gradient to the images is taken, and both are done in the
    precision of the attacks, too.

    Raises:
        RbdmlError: the model fails, or returns anything but finite floating-point (B, D) embeddings.
    """
    rows = torch.arange(min(TRIED, len(dataset.test)), device=device)
    images = dataset.test.to(device).batch(rows)
    try:
        own = InOwnPrecision(_Checked(model))
        embeddings = [_propagated(own, part) for part in (images, images[:1])]
        if precision == "bf16":
            with products_in(precision):
                embeddings.append(_propagated(InBfloat16(own), images))
    except _NoEmbeddingsError as error:
        raise RbdmlError(f"{name} gives {error}") from None
    except (Exception, SystemExit) as error:  # a stranger's code may raise anything
        shape = "x".join(map(str, dataset.image_shape))
        raise RbdmlError(
            f"{name} fails on {shape} images of '{dataset.name}' ({failure(error)}): let its "
            "forward take (B, C, H, W) float images in [0, 1], or choose another data set"
        ) from None
    if not all(bool(each.isfinite().all()) for each in embeddings):
        raise RbdmlError(f"{name} gives embeddings that are not finite: mend the model or its weights")
    return embeddings[0]


class _NoEmbeddingsError(Exception):
    """A model returns something else than embeddings."""


class _Checked(nn.Module):
    """A model whose embeddings are looked at before anything is done with them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, D)."""
        found = self.model(images)
        shown = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        fits = isinstance(found, Tensor) and found.dim() == 2 and found.shape[1] > 1 and len(found) == len(images)
        if not fits:
            raise _NoEmbeddingsError(f"{shown} for {len(images)} images: let its forward return a (B, D) tensor")
        if not found.is_floating_point():
            raise _NoEmbeddingsError(f"{found.dtype} embeddings: let its forward return floating-point numbers")
        return found


def _propagated(model: nn.Module, images: Tensor) -> Tensor:
    """Embed a copy of some images, and take a gradient to them if there is one. Attacks do the same."""
    images = images.clone().requires_grad_()
    with torch.enable_grad():
        embeddings: Tensor = model(images.view_as(images))
        if embeddings.requires_grad:
            torch.autograd.grad(embeddings.sum(), images, allow_unused=True)
    return embeddings.detach()
