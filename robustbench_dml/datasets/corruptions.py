"""Common corruptions of images at five severities.

Kinds and strengths of Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261, as far as torchvision or Pillow computes
them or a line does. The strengths of the blur are those for CIFAR-10, scaled to the side of the images.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from robustbench_dml.utils.randomness import Key, normal_of, uniform_per_item
from robustbench_dml.utils.tensors import to_unit_range

SEVERITIES = (1, 2, 3, 4, 5)
SIDE = 32  # side in pixels of the images that the published blurs are for

Draws = Callable[[int], Tensor]  # number of draws -> (B, draws) uniform numbers


def corrupted(images: Tensor, kind: str, severity: int, *, items: Tensor, key: tuple[Key, ...]) -> Tensor:
    """Corrupt (B, C, H, W) images in [0, 1].

    Args:
        images: the images.
        kind: a name in `KINDS`.
        severity: 1 to 5.
        items: (B,) identity of each image, so that its noise does not depend on the batch.
        key: purpose of the random numbers.
    """
    corrupt, strengths = KINDS[kind]

    def draws(count: int) -> Tensor:
        return uniform_per_item(items, count, key=(*key, kind, severity)).to(images.device)

    return corrupt(images, strengths[severity - 1], draws).to(images).clamp(0, 1)


def _noise(images: Tensor, deviation: float, draws: Draws) -> Tensor:
    return images + deviation * normal_of(draws(images[0].numel())).view_as(images)


def _impulse(images: Tensor, share: float, draws: Draws) -> Tensor:
    drawn = draws(images[0].numel()).view_as(images)
    return images.masked_fill(drawn < share / 2, 0).masked_fill(drawn >= 1 - share / 2, 1)


def _blur(images: Tensor, deviation: float, _: Draws) -> Tensor:
    from torchvision.transforms.v2 import functional

    sigma = deviation * images.shape[-1] / SIDE
    return functional.gaussian_blur(images, [2 * max(1, round(3 * sigma)) + 1] * 2, [sigma])


def _contrast(images: Tensor, factor: float, _: Draws) -> Tensor:
    from torchvision.transforms.v2 import functional

    return functional.adjust_contrast(images, factor)


def _brightness(images: Tensor, added: float, _: Draws) -> Tensor:
    return images + added


def _pixelate(images: Tensor, share: float, _: Draws) -> Tensor:
    from torchvision.transforms.v2 import InterpolationMode, functional

    size = list(images.shape[-2:])
    small = functional.resize(images, [max(1, round(share * side)) for side in size], antialias=True)
    return functional.resize(small, size, InterpolationMode.NEAREST)


def _jpeg(images: Tensor, quality: float, _: Draws) -> Tensor:
    whole = (255 * images).round().to(torch.uint8).movedim(1, 3).cpu().numpy()
    read = np.stack([_compressed(image, int(quality)) for image in whole])
    return to_unit_range(torch.from_numpy(read).to(images.device).movedim(3, 1))


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    """Write (H, W, C) pixels to a JPEG file in memory and read them again."""
    file = io.BytesIO()
    Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(file, "JPEG", quality=quality)
    with Image.open(file) as read:
        return np.asarray(read).reshape(image.shape)


# Name -> function of images, strength and draws, and the strengths of the severities.
KINDS: dict[str, tuple[Callable[[Tensor, float, Draws], Tensor], tuple[float, ...]]] = {
    "gaussian noise": (_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "impulse noise": (_impulse, (0.03, 0.06, 0.09, 0.17, 0.27)),
    "gaussian blur": (_blur, (0.4, 0.6, 0.7, 0.8, 1)),
    "brightness": (_brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (_contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "pixelate": (_pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg": (_jpeg, (25, 18, 15, 10, 7)),
}
