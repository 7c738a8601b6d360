"""C2F2: a network of two convolutions and two linear layers for 28x28 grey images."""

from __future__ import annotations

from torch import nn

from robustbench_dml.models.head import Head
from robustbench_dml.models.stem import StemConv2d
from robustbench_dml.spec.registry import BackboneInfo, register_backbone


def c2f2() -> nn.Module:
    """Build a network (B, 1, 28, 28) -> (B, 512). Zhou et al., T-PAMI 2024, arXiv:2106.03614."""
    return nn.Sequential(
        StemConv2d(1, 32, kernel_size=5, padding=2),
        nn.MaxPool2d(2),  # before the ReLU, which then has a quarter of the values; the result is the same
        nn.ReLU(),
        nn.Conv2d(32, 64, kernel_size=5, padding=2),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 1024),
        nn.ReLU(),
        Head(1024, 512),
    )


register_backbone(
    BackboneInfo(
        name="c2f2",
        summary="two 5x5 convolutions (32, 64), two linear layers (1024, 512); 28x28 grey",
        paper="Zhou et al., T-PAMI 2024, arXiv:2106.03614",
        build=c2f2,
        channels=1,
        side=28,
        mean=(0.0,),
        std=(1.0,),
    )
)
