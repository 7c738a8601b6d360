"""The model that is trained and attacked: pixels in, unit vectors out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from robustbench_dml.models.pretrained import load_weights
from robustbench_dml.spec.registry import BACKBONES, BackboneInfo
from robustbench_dml.spec.schema import Precision
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.precision import bfloat16, products_in
from robustbench_dml.utils.randomness import seed_of
from robustbench_dml.utils.tensors import to_unit_range


class Embedder(nn.Module):
    """Normalises the channels, runs the backbone and projects onto the unit sphere.

    The normalisation is part of the model, so attacks work on pixels in [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, *, mean: tuple[float, ...] = (0.0,), std: tuple[float, ...] = (1.0,)):
        super().__init__()
        self.backbone = backbone
        self.frozen_batchnorm = False  # batch-norm keeps its running statistics in train mode
        self.precision: Precision = "fp32"  # precision of the backbone; the embedding is always float32
        self.micro_batch: int | None = None  # images propagated at once; None: all
        self._layout = torch.channels_last
        self._normalises = any(mean) or any(each != 1 for each in std)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images, float in [0, 1] or uint8, to (B, D) unit vectors.

        In micro-batches, a backward pass propagates each of them again: only one keeps its activations at a time.
        """
        if self.micro_batch is None or len(images) <= self.micro_batch:
            return self._propagated(images)
        if not torch.is_grad_enabled():
            return torch.cat([self._propagated(part) for part in images.split(self.micro_batch)])
        again = partial(checkpoint, self._propagated, use_reentrant=False, preserve_rng_state=self.training)
        return torch.cat([again(part) for part in images.split(self.micro_batch)])

    def _propagated(self, images: Tensor) -> Tensor:
        if images.dtype == torch.uint8:
            images = to_unit_range(images)
        normalised = (images - self.mean) / self.std if self._normalises else images
        normalised = normalised.contiguous(memory_format=self._layout)
        with bfloat16(images.device) if self.precision == "bf16" else nullcontext():
            features = self.backbone(normalised)
        if features.dtype in (torch.bfloat16, torch.float16):  # too coarse for distances
            features = features.float()
        return F.normalize(features, dim=1)

    def train(self, mode: bool = True) -> Embedder:
        """Set the mode of every module; frozen batch-norm stays in eval mode."""
        super().train(mode)
        if self.frozen_batchnorm:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    @contextmanager
    def in_precision(self, precision: Precision) -> Iterator[None]:
        """Run the backbone in another precision inside the context, and take all gradients in it."""
        before, self.precision = self.precision, precision
        try:
            with products_in(precision):
                yield
        finally:
            self.precision = before

    @contextmanager
    def in_micro_batches(self, size: int | None) -> Iterator[None]:
        """Propagate at most this number of images at once inside the context.

        Raises:
            RbdmlError: batch-norm would see the statistics of a part of the batch.
        """
        if size is not None:
            self.check_parts()
        before, self.micro_batch = self.micro_batch, size
        try:
            yield
        finally:
            self.micro_batch = before

    def check_parts(self) -> None:
        """Check that parts of a batch give what the whole gives.

        Raises:
            RbdmlError: batch-norm would see the statistics of a part of the batch.
        """
        if not self.frozen_batchnorm and any(isinstance(module, _BatchNorm) for module in self.modules()):
            raise RbdmlError(
                "batch-norm in train mode would see a part of a batch, that of one device or a micro-batch, which is "
                "another training: use --batchnorm frozen, or one device and no --micro-batch"
            )

    def laid_out(self, precision: Precision) -> Embedder:
        """Order weights and images in memory as convolutions in a precision are fastest on this device.

        That is channels last, except for float32 on a GPU, which has no matrix units for it.
        """
        last = self.mean.device.type == "cpu" or precision != "fp32"
        self._layout = torch.channels_last if last else torch.contiguous_format
        return self.to(memory_format=self._layout)


def build_embedder(
    info: BackboneInfo,
    *,
    seed: int,
    device: torch.device,
    weights: Path | None = None,
    precision: Precision = "fp32",
) -> Embedder:
    """Build a model with initial weights, which depend on the seed and not on the device.

    Args:
        info: the backbone.
        seed: seed of the weights that `weights` does not fill.
        device: device of the model.
        weights: file of weights to start from (see `pretrained.load_weights`).
        precision: the precision that the memory layout is for.

    Raises:
        RbdmlError: the file is unreadable or of another network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "weights", info.name))
        model = Embedder(info.build(), mean=info.mean, std=info.std)
    if weights is not None:
        load_weights(model.backbone, weights)
    return model.to(device).laid_out(precision)


def check_fit(backbone: str, image_shape: tuple[int, int, int], dataset: str) -> BackboneInfo:
    """Return the backbone called `backbone`. Check first that its network accepts images of this (C, H, W).

    Raises:
        RbdmlError: unknown backbone, or another image shape.
    """
    info = BACKBONES.get(backbone)
    if not info.takes(image_shape):
        raise RbdmlError(
            f"backbone '{backbone}' takes {info.input} images and '{dataset}' has {'x'.join(map(str, image_shape))}: "
            "choose another --backbone"
        )
    return info
