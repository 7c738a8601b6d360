"""The first convolution against PyTorch's own: same features, same gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustbench_dml.models.stem import StemConv2d, as_stem, gradient_to_images


@st.composite
def _shapes(draw: st.DrawFn) -> tuple[int, int, int, int, int, int, int]:
    """Channels, features, kernel, stride, padding, height, width."""
    channels, features = draw(st.sampled_from([1, 2, 3, 5, 17])), draw(st.integers(1, 4))
    kernel, stride, padding = draw(st.integers(1, 7)), draw(st.integers(1, 5)), draw(st.integers(0, 8))
    least = max(1, kernel - 2 * padding)
    height, width = draw(st.integers(least, least + 13)), draw(st.integers(least, least + 13))
    return channels, features, kernel, stride, padding, height, width


@settings(deadline=None)
@given(_shapes(), st.integers(0, 2**16))
def test_gradient_is_that_of_pytorch(shape: tuple[int, int, int, int, int, int, int], seed: int) -> None:
    channels, features, kernel, stride, padding, height, width = shape
    random = torch.Generator().manual_seed(seed)
    images = torch.randn(2, channels, height, width, generator=random, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(features, channels, kernel, kernel, generator=random, dtype=torch.float64)
    output = nn.functional.conv2d(images, weight, stride=stride, padding=padding)
    gradient = torch.randn(output.shape, generator=random, dtype=torch.float64)
    (expected,) = torch.autograd.grad(output, images, gradient)

    found = gradient_to_images(gradient, weight, size=(height, width), stride=stride, padding=padding)

    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def _pair(stride: int, *, bias: bool = True) -> tuple[StemConv2d, nn.Conv2d, Tensor]:
    torch.manual_seed(0)
    ours = StemConv2d(3, 8, kernel_size=5, stride=stride, padding=2, bias=bias).double()
    theirs = nn.Conv2d(3, 8, kernel_size=5, stride=stride, padding=2, bias=bias).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs, torch.rand(2, 3, 9, 10, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_is_a_convolution(stride: int, bias: bool) -> None:
    ours, theirs, images = _pair(stride, bias=bias)
    found, expected = ours(images), theirs(images)
    assert torch.equal(found, expected)
    assert torch.equal(ours(images.detach()), expected)

    asked = [images, *ours.parameters()], [images, *theirs.parameters()]
    for mine, other in zip(
        torch.autograd.grad(found.square().sum(), asked[0]),
        torch.autograd.grad(expected.square().sum(), asked[1]),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


def test_gradient_of_a_gradient() -> None:
    ours, theirs, images = _pair(2)

    def penalty(layer: nn.Module) -> tuple[Tensor, ...]:
        (to_images,) = torch.autograd.grad(layer(images).pow(3).sum(), images, create_graph=True)
        return torch.autograd.grad(to_images.square().sum(), [images, *layer.parameters()])

    for mine, other in zip(penalty(ours), penalty(theirs), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-11, atol=1e-11)


def test_images_alone_ask_for_no_gradient_of_the_weights() -> None:
    ours, _, images = _pair(1)
    asked: list[Tensor] = []
    ours.weight.register_hook(asked.append)
    torch.autograd.grad(ours(images).sum(), images)
    assert not asked


@pytest.mark.parametrize("keeps_casts", [False, True])
def test_bfloat16_rounds_once(keeps_casts: bool) -> None:
    ours, theirs, images = _pair(1)
    ours, theirs = ours.float(), theirs.float()
    images = images.detach().float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=keeps_casts):
        found, expected = ours(images), theirs(images)
    assert found.dtype == expected.dtype == torch.bfloat16
    assert torch.equal(found, expected)
    gradient = torch.ones_like(found)
    (mine,), (other,) = torch.autograd.grad(found, images, gradient), torch.autograd.grad(expected, images, gradient)
    assert mine.dtype == torch.float32
    torch.testing.assert_close(mine, other, rtol=2**-7, atol=2**-7)


def test_functional_gradients() -> None:
    ours, theirs, images = _pair(1)
    many = images.detach()

    def of(layer: nn.Module) -> Tensor:
        one = torch.func.grad(lambda image: layer(image[None]).square().sum())
        found: Tensor = torch.func.vmap(one)(many)
        return found

    torch.testing.assert_close(of(ours), of(theirs), rtol=1e-12, atol=1e-12)


def test_as_stem_keeps_the_parameters() -> None:
    _, theirs, images = _pair(2)
    before = torch.get_rng_state()
    stem = as_stem(theirs)
    assert torch.equal(torch.get_rng_state(), before)
    assert stem.weight is theirs.weight and stem.bias is theirs.bias
    assert torch.equal(stem(images), theirs(images))


@pytest.mark.parametrize(
    "other", [{"dilation": 2}, {"groups": 3}, {"padding": "same"}, {"padding": (1, 2)}, {"stride": (1, 2)},
              {"kernel_size": (3, 5)}, {"padding_mode": "circular", "padding": 2}]
)  # fmt: skip
def test_no_stem_of_other_convolutions(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no stem"):
        as_stem(nn.Conv2d(3, 6, **{"kernel_size": 5, **other}))
