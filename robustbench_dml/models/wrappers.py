"""Models behind another precision or normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml.utils.precision import bfloat16


class InOwnPrecision(nn.Module):
    """Any model behind float32 pixels: they go in in the type of its weights, half precision comes out as float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        floating = (parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
        self.dtype = next(floating, torch.float32)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D)."""
        embeddings: Tensor = self.model(images.to(self.dtype))
        return embeddings if embeddings.dtype == torch.float64 else embeddings.float()


class InBfloat16(nn.Module):
    """Any model with its convolutions and matrix products in bfloat16."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D) float32."""
        with bfloat16(images.device):
            embeddings: Tensor = self.model(images)
        return embeddings.float()


class OnSphere(nn.Module):
    """Any model, its embeddings scaled to unit length."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, D) unit vectors, in float32 at least."""
        embeddings: Tensor = self.model(images)
        return F.normalize(embeddings if embeddings.dtype == torch.float64 else embeddings.float(), dim=1)
