"""A plain network: images row by row, with no choice of layout or precision."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml.models.embedder import Embedder
from robustbench_dml.models.stem import StemConv2d


def plain_stem(network: nn.Module) -> nn.Module:
    """Let PyTorch compute the gradient to the images, in place."""
    for layer in network.modules():
        if isinstance(layer, StemConv2d):
            layer.forward = partial(nn.Conv2d.forward, layer)
    return network


class Plain(nn.Module):
    """The weights of an embedder in a plain module; (B, C, H, W) -> (B, D)."""

    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        network = plain_stem(embedder.backbone)
        self.backbone = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.frozen = [m for m in self.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        self.register_buffer("mean", embedder.mean)
        self.register_buffer("std", embedder.std)
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, D) unit vectors."""
        return F.normalize(self.backbone((images - self.mean) / self.std), dim=1)

    def train(self, mode: bool = True) -> Plain:
        """Batch-norm stays frozen, as published."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self
