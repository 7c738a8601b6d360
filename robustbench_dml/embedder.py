"""The model that is trained and attacked: pixels in, unit vectors out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml.errors import RbdmlError
from robustbench_dml.randomness import seed_of
from robustbench_dml.registry import BACKBONES, BackboneInfo


class Embedder(nn.Module):
    """Normalise the channels, run the backbone, project onto the unit sphere.

    The normalisation is part of the model, so attacks work on pixels in [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, *, mean: tuple[float, ...] = (0.0,), std: tuple[float, ...] = (1.0,)):
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) float in [0, 1], or uint8 -> (B, D) unit vectors."""
        if images.dtype == torch.uint8:
            images = to_unit_range(images)
        features = self.backbone(((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last))
        return F.normalize(features, dim=1)


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 pixels to float32 in [0, 1]."""
    return images.float() / 255


def build_embedder(info: BackboneInfo, *, seed: int, device: torch.device) -> Embedder:
    """A freshly initialised model, the same for the same seed on every device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "weights", info.name))
        model = Embedder(info.build(), mean=info.mean, std=info.std)
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def check_fit(backbone: str, image_shape: tuple[int, int, int], dataset: str) -> BackboneInfo:
    """The backbone of that name, if it takes these images.

    Raises:
        RbdmlError: unknown backbone, or another image shape.
    """
    info = BACKBONES.get(backbone)
    if info.input_shape != image_shape:
        raise RbdmlError(
            f"backbone '{backbone}' takes {_shape(info.input_shape)} images and '{dataset}' has "
            f"{_shape(image_shape)}: choose another --backbone"
        )
    return info


def _shape(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))
