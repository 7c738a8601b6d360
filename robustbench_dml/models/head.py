"""A last layer that stays in float32."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn


class Head(nn.Linear):
    """The linear layer that gives the embedding, with the parameters of `nn.Linear`.

    It leaves autocast: an embedding in bfloat16 has three digits, too few for the distances of a trained network.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, F) in any precision to (B, D) in the precision of the weights."""
        kind = features.device.type
        outside = torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
        with outside:
            return super().forward(features.to(self.weight.dtype))
