"""Images of the caller: what is taken, under which name, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support import pixels
from torch import Tensor
from torch.utils.data import TensorDataset
from torchvision.datasets import ImageFolder

import robustbench_dml as rb
from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.datasets.held import HELD, hold, split_of
from robustbench_dml.datasets.images import decode
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.utils.errors import RbdmlError

RNG = torch.Generator().manual_seed(0)
IMAGES = torch.randint(0, 256, (12, 3, 6, 6), generator=RNG, dtype=torch.uint8)
LABELS = torch.arange(12) // 3
AS_FLOAT = IMAGES.float() / 255


@pytest.mark.parametrize(
    "images",
    [IMAGES, IMAGES.numpy(), IMAGES.permute(0, 2, 3, 1).numpy(), AS_FLOAT, AS_FLOAT.double(), AS_FLOAT.numpy()],
    ids=["uint8", "numpy", "channels last", "float", "double", "float numpy"],
)
@pytest.mark.parametrize("labels", [LABELS, LABELS.numpy(), LABELS.tolist(), LABELS.to(torch.uint8)])
def test_images_of_all_types_are_the_same_pixels(images: Any, labels: Any) -> None:
    split = split_of(images, labels)
    assert torch.equal(pixels(split), IMAGES) and torch.equal(split.labels, LABELS)
    assert hold(images, labels) == hold(IMAGES, LABELS)


def test_a_torch_dataset_is_read_item_by_item() -> None:
    assert torch.equal(pixels(split_of(TensorDataset(AS_FLOAT, LABELS))), IMAGES)


def test_an_image_folder_is_resized_and_cropped_like_the_papers_sets(tmp_path: Path) -> None:
    for index in range(4):
        path = tmp_path / f"class{index // 2}" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        side = 300 + 10 * index
        pixels_of_file = np.random.default_rng(index).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels_of_file).save(path)
    split = split_of(ImageFolder(str(tmp_path)))
    assert split.image_shape == (3, 224, 224) and split.labels.tolist() == [0, 0, 1, 1]
    expected = decode(tmp_path / "class1" / "3.png", 256).pixels
    assert torch.equal(pixels(split)[3], torch.from_numpy(expected))


def test_the_name_is_that_of_the_content() -> None:
    name = hold(IMAGES, LABELS)
    other = IMAGES.clone()
    other[3, 0, 0, 0] ^= 1
    divided = hold(TensorDataset(IMAGES, LABELS), for_training=True)
    assert len({name, hold(other, LABELS), hold(IMAGES, LABELS.flip(0)), divided}) == 4
    assert hold("glyphs") == "glyphs"
    assert hold(HELD[name]) == name


def test_the_entry_counts_and_divides_the_classes() -> None:
    name = hold(TensorDataset(IMAGES, LABELS), for_training=True)
    info, data = DATASETS.get(name), load_dataset(name, DataPaths())
    assert (info.train_images, info.test_images, info.train_classes, info.test_classes) == (6, 6, 2, 2)
    assert data.train.labels.unique().tolist() == [0, 1] and data.test.labels.unique().tolist() == [2, 3]
    assert (info.family, info.backbone) == ("rgb224", "resnet18")
    pair = hold((TensorDataset(IMAGES[:5], LABELS[:5]), TensorDataset(IMAGES[5:], LABELS[5:])))
    assert len(load_dataset(pair, DataPaths()).train) == 5
    assert DATASETS.get(hold(IMAGES[:, :1], LABELS)).backbone == "c2f2"


def test_images_of_another_session_are_asked_for() -> None:
    name = "data:1x28-" + "0" * 16
    assert DATASETS.get(name).family == "grey28"  # its records can be shown
    with pytest.raises(RbdmlError, match="pass its images again"):
        load_dataset(name, DataPaths())
    with pytest.raises(RbdmlError, match="unknown data set 'data:mine'"):
        DATASETS.get("data:mine")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (2 * AS_FLOAT - 1, LABELS, "pixels of type torch.float32 from -1 to 1: give uint8, or float"),
        (IMAGES.long(), LABELS, "pixels of type torch.int64"),
        (AS_FLOAT / 0, LABELS, "pixels of type torch.float32"),
        (IMAGES[0], LABELS, r"images of shape \(3, 6, 6\): give \(N, C, H, W\)"),
        (IMAGES, LABELS[:5], "for 12 images: give one whole number for each image"),
        (IMAGES, LABELS.float(), "labels of type torch.float32"),
        (IMAGES, None, "Tensor is no data set: give its name, images and labels, or a torch Dataset"),
        (7, None, "int is no data set"),
        ([1, 2], None, "item 0 of the data set is no pair"),
        ([(IMAGES[0], 0), (IMAGES[1, :, :5], 1)], None, "differ in shape: resize them"),
    ],
)
def test_other_images_are_refused_in_one_line(images: Any, labels: Any, message: str) -> None:
    with pytest.raises(RbdmlError, match=message) as refusal:
        hold(images, labels)
    assert "\n" not in str(refusal.value)


class Raw(torch.nn.Module):
    """Embeddings of any length, in training mode until someone asks."""

    def forward(self, images: Tensor) -> Tensor:
        return 40 * images.flatten(1) - 3


def test_any_model_is_evaluated_on_the_callers_images() -> None:
    """R@1 as by a loop over normalised embeddings."""
    images = torch.randint(0, 256, (60, 1, 8, 8), generator=RNG, dtype=torch.uint8)
    labels = torch.arange(60) % 5
    images[labels == 0] //= 3
    model = Raw()
    found = rb.evaluate(model, images, labels, device="cpu", quiet=True, protocol="ers", attack_steps=2)
    rows = torch.nn.functional.normalize(Raw()(images.double() / 255), dim=1)
    d = torch.cdist(rows, rows).fill_diagonal_(torch.inf)
    assert found.benign["R@1"] == pytest.approx(100 * float((labels[d.argmin(1)] == labels).double().mean()))
    assert model.training  # as it was
