"""A first convolution with a fast gradient to the images, for PGD."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VECTOR = 16  # channels that a CPU convolution computes at a time, needed or not


class StemConv2d(nn.Conv2d):
    """A square `nn.Conv2d` for images of few channels, with the same parameters and features.

    On a CPU the gradient to one grey channel costs as much as the gradient to sixteen. Here the pixels of a block take
    the role of channels (`gradient_to_images`). PyTorch computes the gradients of weights, and all on other devices.
    """

    def __init__(  # the blocks support neither dilation nor groups nor oblong kernels
        self,
        channels: int,
        features: int,
        *,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__(channels, features, kernel_size, stride, padding, bias=bias, device=device)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, D, H', W')."""
        if images.device.type != "cpu" or not (images.requires_grad and torch.is_grad_enabled()):
            return super().forward(images)
        features = super().forward(images.detach())
        passed: Tensor = _GradientToImages.apply(features, images, self.weight, self.stride[0], self.padding[0])
        return passed


def as_stem(layer: nn.Conv2d) -> StemConv2d:
    """Return the same convolution with the same parameters as a stem.

    Raises:
        ValueError: it is oblong, dilated or grouped, or its padding is not zeros, equal on all sides.
    """
    kernel, stride, padding = layer.kernel_size[0], layer.stride[0], layer.padding[0]
    stem = StemConv2d(
        layer.in_channels,
        layer.out_channels,
        kernel_size=kernel,
        stride=stride,
        padding=0 if isinstance(padding, str) else padding,
        bias=layer.bias is not None,
        device="meta",  # draws no random numbers
    )
    if repr(layer).partition("(")[2] != repr(stem).partition("(")[2]:
        raise ValueError(f"no stem: {layer}")
    stem.weight, stem.bias = layer.weight, layer.bias
    return stem


def gradient_to_images(
    gradient: Tensor, weight: Tensor, *, size: tuple[int, int], stride: int = 1, padding: int = 0
) -> Tensor:
    """Compute `torch.nn.grad.conv2d_input` for a square kernel by one convolution, with a block of pixels per output.

    Args:
        gradient: (B, D, H', W') gradient of the convolution's output.
        weight: (D, C, k, k).
        size: H and W of the images.
        stride: stride of the convolution.
        padding: padding of the convolution on each side.

    Returns:
        (B, C, H, W), in the gradient's dtype.
    """
    channels, kernel = weight.shape[1:3]
    step = max(1, math.isqrt(VECTOR // channels) // stride)  # distance between blocks, in outputs
    side = step * stride  # side of a block, in pixels
    # Pixel p of a block meets output q, counted from the block's first, in tap i: p + padding = stride * q + i.
    first, last = -((kernel - 1 - padding) // stride), (side - 1 + padding) // stride
    pixel, tap, output = torch.arange(side), torch.arange(kernel), torch.arange(first, last + 1)
    meets = (pixel[:, None, None] + padding == stride * output[:, None] + tap).to(gradient)
    blocks = torch.einsum("aqi,bpj,dcij->cabdqp", meets, meets, weight.to(gradient)).flatten(0, 2)

    height, width = size
    beyond = [step * (math.ceil(pixels / side) - 1) + last + 1 for pixels in size]  # the last output that a block needs
    below, right = (needed - there for needed, there in zip(beyond, gradient.shape[2:], strict=True))
    padded = F.pad(gradient, (-first, right, -first, below))
    images = F.conv2d(padded, blocks.contiguous(memory_format=torch.channels_last), stride=step)
    return F.pixel_shuffle(images, side)[:, :, :height, :width]


class _GradientToImages(torch.autograd.Function):
    """Passes features on, with a gradient to the images beside the gradient to the weights."""

    generate_vmap_rule = True

    @staticmethod
    def forward(features: Tensor, images: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        return features.view_as(features)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, int, int], output: Tensor) -> None:
        _, images, weight, ctx.stride, ctx.padding = inputs
        ctx.size = images.shape[2:]
        ctx.save_for_backward(weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        to_images = gradient_to_images(gradient, weight, size=ctx.size, stride=ctx.stride, padding=ctx.padding)
        return gradient, to_images, None, None, None
