"""Images that the caller holds: tensors, arrays or a torch `Dataset`, under a name made from their content."""

from __future__ import annotations

import re
from collections.abc import Sized
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from robustbench_dml.datasets.base import DataPaths, Dataset, DatasetStatus, Split
from robustbench_dml.datasets.images import pixels_of
from robustbench_dml.datasets.listed import SEEN, STORED
from robustbench_dml.spec.registry import DATASETS, DatasetInfo, Scheme
from robustbench_dml.utils.errors import MissingDataError, RbdmlError
from robustbench_dml.utils.tensors import tensors_hash

HELD: dict[str, Dataset] = {}  # by name, as long as the process lives
_NONE = Split(torch.empty(0, 1, 1, 1, dtype=torch.uint8), torch.empty(0, dtype=torch.int64))
NOTHING = Dataset("", _NONE, _NONE, {})
NAME = re.compile(r"data:(\d+)x\d+-[0-9a-f]{16}")


def hold(data: Any, labels: Any = None, *, for_training: bool = False) -> str:
    """Return the name of a data set and keep its images in memory.

    Args:
        data: the name of a registered set, which is returned as it is; a `Dataset` of this package; a torch `Dataset`
            of images and labels; images, with `labels`; or a pair of such sets for training and test.
        labels: (N,) whole numbers.
        for_training: divide a single set by its classes: the first half for training, the rest for testing. Otherwise
            all images are for testing.

    Raises:
        RbdmlError: anything else, or images of other types or ranges.
    """
    if isinstance(data, str):
        return data
    if isinstance(data, tuple) and len(data) == 2 and labels is None:
        train, test = (split_of(part) for part in data)
    elif isinstance(data, Dataset):
        train, test = data.train, data.test
    else:
        whole = split_of(data, labels)
        train, test = _halves(whole) if for_training else (whole, whole)
    hashes = {part: _content(split) for part, split in {"train": train, "test": test}.items()}
    channels, side, _ = test.image_shape
    digest = tensors_hash({part: torch.tensor(list(bytes.fromhex(text))) for part, text in hashes.items()})
    name = f"data:{channels}x{side}-{digest[:16]}"
    HELD[name] = Dataset(name, train, test, hashes)
    return name


def split_of(data: Any, labels: Any = None) -> Split:
    """Make a split of images in memory.

    Args:
        data: images (N, C, H, W), or (N, H, W, C) with one or three channels: uint8, or float in [0, 1], stored in
            steps of 1/255. Or a torch `Dataset` of images and labels, whose PIL images are resized to 256x256 and
            cropped to 224x224 as the papers do.
        labels: (N,) whole numbers; None for a torch `Dataset`.

    Raises:
        RbdmlError: images or labels of another kind.
    """
    crop = None
    if labels is None:
        data, labels, crop = _items(data)
    images = _pixels(torch.as_tensor(data))
    classes = torch.as_tensor(labels).cpu()
    if classes.is_floating_point() or classes.dim() != 1 or len(classes) != len(images):
        raise RbdmlError(
            f"labels of type {classes.dtype} and shape {tuple(classes.shape)} for {len(images)} images: give one whole "
            "number for each image"
        )
    return Split(images, classes.long(), crop)


def _items(data: Any) -> tuple[Tensor, list[int], int | None]:
    """Read all items of a torch Dataset: images, labels, and the crop of PIL images."""
    if not (isinstance(data, Sized) and hasattr(data, "__getitem__")) or isinstance(data, Tensor | np.ndarray):
        raise RbdmlError(f"{type(data).__name__} is no data set: give its name, images and labels, or a torch Dataset")
    images, labels, crop = [], [], None
    for index in range(len(data)):
        try:
            image, label = data[index][:2]
        except (TypeError, ValueError):
            raise RbdmlError(f"item {index} of the data set is no pair: let it be an image and its label") from None
        if isinstance(image, Image.Image):
            image, crop = torch.from_numpy(pixels_of(image, STORED)), SEEN
        images.append(_pixels(torch.as_tensor(image)[None])[0])
        labels.append(int(label))
    if len({image.shape for image in images}) != 1:
        raise RbdmlError("the images of the data set differ in shape: resize them, or let it return PIL images")
    return torch.stack(images), labels, crop


def _pixels(images: Tensor) -> Tensor:
    """Return (N, C, H, W) uint8 pixels."""
    images = images.detach().cpu()
    if images.dim() == 4 and images.shape[3] in (1, 3) and images.shape[1] not in (1, 3):
        images = images.permute(0, 3, 1, 2)
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise RbdmlError(f"images of shape {tuple(images.shape)}: give (N, C, H, W) with one or three channels")
    if images.dtype == torch.uint8:
        return images.contiguous()
    if not images.is_floating_point() or not bool(((images >= 0) & (images <= 1)).all()):
        raise RbdmlError(
            f"pixels of type {images.dtype} from {float(images.min()):.3g} to {float(images.max()):.3g}: give uint8, "
            "or float in [0, 1], and let the model normalise them"
        )
    return (images * 255).round().to(torch.uint8)


def _halves(whole: Split) -> tuple[Split, Split]:
    classes = whole.labels.unique()
    seen = torch.isin(whole.labels, classes[: (len(classes) + 1) // 2])
    images = whole.images[torch.arange(len(whole))]
    return tuple(Split(images[part], whole.labels[part], whole.crop) for part in (seen, ~seen))  # type: ignore[return-value]


def _content(split: Split) -> str:
    return tensors_hash({"images": split.images[torch.arange(len(split))], "labels": split.labels})


def info_of(rest: str) -> DatasetInfo:
    """Return the entry of `data:SHAPE-HASH`. The images themselves are known in the process that holds them alone.

    Raises:
        RbdmlError: no such name.
    """
    name = f"data:{rest}"
    shape = NAME.fullmatch(name)
    if shape is None:
        raise RbdmlError(f"unknown data set '{name}': images are named by `robustbench_dml.run` and `evaluate`")
    grey, data = shape[1] == "1", HELD.get(name, NOTHING)
    return DatasetInfo(
        name=name,
        summary="images of the caller",
        paper="user data",
        family="grey28" if grey else "rgb224",
        backbone="c2f2" if grey else "resnet18",
        train_images=len(data.train),
        test_images=len(data.test),
        train_classes=len(data.train.labels.unique()),
        test_classes=len(data.test.labels.unique()),
        load=partial(_load, name),
        status=partial(_status, name),
    )


def _load(name: str, _: DataPaths) -> Dataset:
    if name not in HELD:
        raise MissingDataError(f"'{name}' is no data set of this process: pass its images again")
    return HELD[name]


def _status(name: str, paths: DataPaths, *, verify: bool = False) -> DatasetStatus:
    data = _load(name, paths)
    train, test = ((len(part), len(part.labels.unique())) for part in (data.train, data.test))
    return DatasetStatus(Path(), train, test, "in memory", data.hashes)


DATASETS.add_scheme(
    Scheme(
        name="data:SHAPE-HASH",
        summary="images passed to `robustbench_dml.run` or `evaluate` in this process",
        paper="user data",
        make=info_of,
        listed=False,
    )
)
