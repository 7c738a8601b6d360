"""Data sets in memory and on disk, and the folders that hold them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.progress import Progress
from robustbench_dml.utils.tensors import to_unit_range


class Images(Protocol):
    """Stored images of one size: a tensor in memory, or an object that reads rows on demand."""

    @property
    def shape(self) -> Sequence[int]:
        """(N, C, H, W)."""

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """Return rows: (B,) -> (B, C, H, W) uint8, on the CPU unless the images are a tensor elsewhere."""


@dataclass(frozen=True)
class Split:
    """Images and their classes."""

    images: Images  # (N, C, H, W) uint8, as stored
    labels: Tensor  # (N,) int64 classes; batches go to their device
    crop: int | None = None  # side of the square for the network; None for the whole stored image

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image for the network."""
        channels, height, width = self.images.shape[1:]
        return (channels, height, width) if self.crop is None else (channels, self.crop, self.crop)

    def to(self, device: torch.device) -> Split:
        """Move a split to a device. Images that are not in memory stay on disk."""
        images = self.images.to(device) if isinstance(self.images, Tensor) else self.images
        return Split(images, self.labels.to(device), self.crop)

    def batch(self, indices: Tensor) -> Tensor:
        """Return rows cropped at the centre: (B,) -> (B, C, H, W) float in [0, 1]."""
        images = self._stored(indices)
        if self.crop is not None:
            top, left = ((stored - self.crop) // 2 for stored in images.shape[2:])
            images = images[:, :, top : top + self.crop, left : left + self.crop]
        return to_unit_range(images)

    def augmented(self, indices: Tensor, rng: torch.Generator) -> Tensor:
        """Return rows cropped at random and mirrored with probability 1/2: (B,) -> (B, C, H, W) float in [0, 1].

        Args:
            indices: (B,) rows.
            rng: CPU generator; the draws do not depend on the device.
        """
        images = self._stored(indices)
        count, _, height, width = images.shape
        _, high, wide = self.image_shape
        draw = torch.rand(3, count, generator=rng, dtype=torch.float64)
        top = (draw[0] * (height - high + 1)).long()
        left = (draw[1] * (width - wide + 1)).long()
        mirrored = draw[2] < 0.5
        result = images.new_empty(count, images.shape[1], high, wide)
        # Copying the images one by one is several times faster than gathering all pixels by index.
        for to, image, y, x, flip in zip(result, images, top.tolist(), left.tolist(), mirrored.tolist(), strict=True):
            part = image[:, y : y + high, x : x + wide]
            to.copy_(part.flip(-1) if flip else part)
        return to_unit_range(result)

    def _stored(self, indices: Tensor) -> Tensor:
        return self.images[indices].to(self.labels.device, non_blocking=True)


@dataclass(frozen=True)
class Dataset:
    """Training and test images, with hashes of their source."""

    name: str  # name of the data set, as the user wrote it
    train: Split  # images of the training classes
    test: Split  # images of the test classes: the gallery and the queries
    hashes: Mapping[str, str]  # SHA-256 of each file, or of each split's images and classes
    notes: tuple[str, ...] = ()  # remarks on this copy for the user, a line each

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image for the network."""
        return self.test.image_shape


@dataclass(frozen=True)
class DataPaths:
    """Folders of data, and permission to download and to cache."""

    data_root: Path | None = None  # `--data-root`
    download: bool = False  # download a missing set
    cache: bool = True  # keep decoded images on disk
    # Shows bars and messages while data is prepared.
    progress: Progress = field(default_factory=lambda: Progress(quiet=True))

    @property
    def folders(self) -> list[Path]:
        """Folders to search: `data_root`, $RBDML_DATA, and the default folder of downloads."""
        named = [self.data_root, os.environ.get("RBDML_DATA"), cache_folder() / "data"]
        return [expanded(folder) for folder in named if folder]

    @property
    def decoded(self) -> Path:
        """Folder of decoded images."""
        return cache_folder() / "images"


def cache_folder() -> Path:
    """Return the folder of reproducible files: $RBDML_CACHE, or a folder of the user's cache.

    Raises:
        RbdmlError: there is no home folder.
    """
    try:
        return expanded(os.environ.get("RBDML_CACHE") or "~/.cache/robustbench-dml")
    except RbdmlError:
        raise RbdmlError("there is no home folder for decoded images: set RBDML_CACHE to a folder") from None


def expanded(path: str | Path) -> Path:
    """Return a path with `~` replaced by the home folder.

    Raises:
        RbdmlError: no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise RbdmlError(f"{path}: there is no such home folder: write the whole path") from None


@dataclass(frozen=True)
class DatasetStatus:
    """A data set on this machine."""

    where: Path  # its folder
    train: tuple[int, int]  # (images, classes) in its lists
    test: tuple[int, int]  # likewise
    decoded: str  # state of the decoded images: `in memory`, `kept`, `checked` (without pixels), `in part` or `not yet`
    hashes: Mapping[str, str]  # SHA-256 as in records, as far as they are known


@dataclass(frozen=True)
class DownloadRequest:
    """Options of `rbdml data prepare`."""

    urls: tuple[str, ...] = ()  # mirrors to use instead of the known servers
    source: Path | None = None  # an archive or a folder on this machine
