"""A last layer that stays in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Head(nn.Linear):
    """The linear layer that gives the embedding, with the parameters of `nn.Linear`.

    It leaves autocast: an embedding in bfloat16 has three digits, too few for the distances of a trained network.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, F) in any precision to (B, D) in the precision of the weights."""
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.to(self.weight.dtype))
