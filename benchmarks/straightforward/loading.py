"""A batch of training images as most code loads it: one file after another, with torchvision's transforms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

TRANSFORM = transforms.Compose(
    [
        transforms.Resize((256, 256)),
        transforms.RandomCrop(224),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
    ]
)


def batch(paths: Sequence[Path]) -> Tensor:
    """(B, 3, 224, 224) in [0, 1]."""
    images = []
    for path in paths:
        with Image.open(path) as image:
            images.append(TRANSFORM(image.convert("RGB")))
    return torch.stack(images)
