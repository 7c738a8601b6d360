"""The baseline without a network: the pixels of an image are its embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml import register_defense
from robustbench_dml.defenses.untrained import Untrained

SIDE = 32  # side of reduced images: the pixels of 60,000 images of 224x224 would take 36 GB
OFFSET = 1e-6  # added to every pixel, which gives a black image a direction, too


class RawPixels(nn.Module):
    """Embeds an image as its pixels, reduced to 32x32 and normalised."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C H W) unit vectors."""
        side = images.shape[-1]
        small = F.adaptive_avg_pool2d(images, SIDE) if side > SIDE else images
        return F.normalize(small.flatten(1) + OFFSET, dim=1)


@register_defense("pixels", summary="BASELINE: the pixels of an image, without a network", paper="of this project")
@dataclass(kw_only=True)
class Pixels(Untrained):
    """Deploy the pixels instead of the network."""

    seeded: ClassVar[bool] = False

    def deploy(self, model: nn.Module) -> nn.Module:
        return RawPixels()
