"""The range of pixels."""

from __future__ import annotations

from torch import Tensor


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 pixels to float32 in [0, 1]."""
    return images.float().div_(255)
