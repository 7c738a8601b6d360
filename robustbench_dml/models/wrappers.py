"""Wrappers that change the precision or the normalisation of a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml.utils.precision import bfloat16


@contextmanager
def left_as_they_were(*models: nn.Module) -> Iterator[None]:
    """Restore the modes and the device of models at the end."""
    modes = {module: module.training for model in models for module in model.modules()}
    devices = [next((each.device for each in chain(model.parameters(), model.buffers())), None) for model in models]
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for model, device in zip(models, devices, strict=True):
            if device is not None:
                model.to(device)


class InOwnPrecision(nn.Module):
    """Casts float32 pixels to the type of the weights, and embeddings in half precision to float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        floating = (parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
        self.dtype = next(floating, torch.float32)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, D)."""
        embeddings: Tensor = self.model(images.to(self.dtype))
        return embeddings if embeddings.dtype == torch.float64 else embeddings.float()


class InBfloat16(nn.Module):
    """Runs convolutions and matrix products of a model in bfloat16."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, D), float32 at least."""
        with bfloat16(images.device):
            embeddings: Tensor = self.model(images)
        return embeddings if embeddings.dtype == torch.float64 else embeddings.float()


class OnSphere(nn.Module):
    """Scales the embeddings of a model to unit length."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) in [0, 1] to (B, D) unit vectors, in float32 at least."""
        embeddings: Tensor = self.model(images)
        return F.normalize(embeddings if embeddings.dtype == torch.float64 else embeddings.float(), dim=1)
