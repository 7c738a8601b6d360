from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from robustbench_dml.datasets.corruptions import KINDS, SEVERITIES, corrupted

SHAPES = [(1, 28, 28), (3, 32, 32)]
ITEMS = torch.tensor([3, 8, 5])


def images(shape: tuple[int, ...]) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(3, shape[0], 4, 4, generator=rng)
    return torch.nn.functional.interpolate(coarse, shape[1:], mode="bilinear")


def corrupt(kind: str, severity: int, shape: tuple[int, ...] = SHAPES[0], rows: list[int] | None = None) -> Tensor:
    chosen = rows or [0, 1, 2]
    return corrupted(images(shape)[chosen], kind, severity, items=ITEMS[chosen], key=(0, "test"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_severities_rise_and_images_stay_images(kind: str, shape: tuple[int, ...]) -> None:
    found = [corrupt(kind, severity, shape) for severity in SEVERITIES]
    assert all(each.shape == (3, *shape) and each.dtype == torch.float32 for each in found)
    assert all(0 <= float(each.min()) and float(each.max()) <= 1 for each in found)
    away = [float((each - images(shape)).square().mean()) for each in found]
    assert 0 < away[0] < away[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_does_not_depend_on_its_batch(kind: str) -> None:
    assert torch.allclose(corrupt(kind, 3)[[2, 0]], corrupt(kind, 3, rows=[2, 0]), atol=1e-6)


def test_noise_has_its_deviation_and_its_share() -> None:
    grey, items = torch.full((1, 1, 200, 200), 0.5), ITEMS[:1]
    noise = corrupted(grey, "gaussian noise", 2, items=items, key=(0,)) - 0.5
    assert float(noise.std()) == pytest.approx(0.12, rel=0.02)
    assert float(noise.mean()) == pytest.approx(0, abs=0.003)
    impulses = corrupted(grey, "impulse noise", 5, items=items, key=(0,))
    assert [float((impulses == value).float().mean()) for value in (0, 1)] == pytest.approx([0.135, 0.135], abs=0.01)


def test_blur_is_that_of_scipy() -> None:
    image, found = images((1, 56, 56)), corrupted(images((1, 56, 56)), "gaussian blur", 5, items=ITEMS, key=(0,))
    expected = gaussian_filter(image.numpy(), (0, 0, 1.75, 1.75), mode="mirror", radius=(0, 0, 5, 5))  # 1 at 32 pixels
    assert np.allclose(found.numpy(), expected, atol=1e-5)


def test_jpeg_is_that_of_pillow() -> None:
    image, buffer = (255 * images((1, 28, 28))[0, 0]).round().to(torch.uint8), io.BytesIO()
    Image.fromarray(image.numpy()).save(buffer, "JPEG", quality=7)
    away = 255 * corrupt("jpeg", 5)[0, 0].numpy() - np.asarray(Image.open(buffer))
    assert np.abs(away).max() < 1e-3


@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_and_brightness_are_their_formulas(severity: int) -> None:
    image = images(SHAPES[0])
    factor, added = KINDS["contrast"][1][severity - 1], KINDS["brightness"][1][severity - 1]
    mean = image.mean((1, 2, 3), keepdim=True)
    assert torch.allclose(corrupt("contrast", severity), mean + factor * (image - mean), atol=1e-5)
    assert torch.allclose(corrupt("brightness", severity), (image + added).clamp(0, 1))
