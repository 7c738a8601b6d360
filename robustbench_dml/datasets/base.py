"""What a data set is to the harness, and where data is looked for."""

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
    """Stored images of one size: a tensor in memory, or something that reads them when they are asked for."""

    @property
    def shape(self) -> Sequence[int]:
        """(N, C, H, W)."""

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """(B,) rows -> (B, C, H, W) uint8; on the CPU unless this is a tensor elsewhere."""


@dataclass(frozen=True)
class Split:
    """Images and their classes.

    Attributes:
        images: (N, C, H, W) uint8, as stored.
        labels: (N,) int64 classes; its device is where batches go.
        crop: side of the square that a network sees; None for the stored image as it is.
    """

    images: Images
    labels: Tensor
    crop: int | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what a network sees."""
        channels, height, width = self.images.shape[1:]
        return (channels, height, width) if self.crop is None else (channels, self.crop, self.crop)

    def to(self, device: torch.device) -> Split:
        """The same split for another device. Images that are not in memory stay where they are."""
        images = self.images.to(device) if isinstance(self.images, Tensor) else self.images
        return Split(images, self.labels.to(device), self.crop)

    def batch(self, indices: Tensor) -> Tensor:
        """(B,) rows -> (B, C, H, W) float in [0, 1], cropped at the centre."""
        images = self._stored(indices)
        if self.crop is not None:
            top, left = ((stored - self.crop) // 2 for stored in images.shape[2:])
            images = images[:, :, top : top + self.crop, left : left + self.crop]
        return to_unit_range(images)

    def augmented(self, indices: Tensor, rng: torch.Generator) -> Tensor:
        """(B,) rows -> (B, C, H, W) float in [0, 1], cropped at random and mirrored with probability one half.

        Args:
            indices: rows.
            rng: CPU generator; the draws do not depend on the device.
        """
        images = self._stored(indices)
        count, _, height, width = images.shape
        _, high, wide = self.image_shape
        draw = torch.rand(3, count, generator=rng, dtype=torch.float64)
        top = (draw[0] * (height - high + 1)).long()
        left = (draw[1] * (width - wide + 1)).long()
        mirrored = draw[2] < 0.5
        seen = images.new_empty(count, images.shape[1], high, wide)
        # Copying one image after another is several times faster than gathering all of their pixels by index.
        for to, image, y, x, flip in zip(seen, images, top.tolist(), left.tolist(), mirrored.tolist(), strict=True):
            part = image[:, y : y + high, x : x + wide]
            to.copy_(part.flip(-1) if flip else part)
        return to_unit_range(seen)

    def _stored(self, indices: Tensor) -> Tensor:
        return self.images[indices].to(self.labels.device, non_blocking=True)


@dataclass(frozen=True)
class Dataset:
    """Training and test images, and what they came from.

    Attributes:
        name: as the user gave it.
        train: images of the training classes.
        test: images of the test classes: the gallery and the queries.
        hashes: SHA-256 of each file, or of each split's images and classes.
        notes: what a user should know about this copy, a line each.
    """

    name: str
    train: Split
    test: Split
    hashes: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what a network sees."""
        return self.test.image_shape


@dataclass(frozen=True)
class DataPaths:
    """Where data may lie and how it is had.

    Attributes:
        data_root: `--data-root`.
        download: whether a missing set may be downloaded.
        cache: whether decoded images are kept on disk.
        progress: bars and messages while data is prepared.
    """

    data_root: Path | None = None
    download: bool = False
    cache: bool = True
    progress: Progress = field(default_factory=lambda: Progress(quiet=True))

    @property
    def folders(self) -> list[Path]:
        """Folders to look in: the one that was asked for, $RBDML_DATA, and where downloads go without them."""
        named = [self.data_root, os.environ.get("RBDML_DATA"), cache_folder() / "data"]
        return [expanded(folder) for folder in named if folder]

    @property
    def decoded(self) -> Path:
        """Where decoded images are kept."""
        return cache_folder() / "images"


def cache_folder() -> Path:
    """Where what can be made again is kept: $RBDML_CACHE, or a folder of the user's cache."""
    return expanded(os.environ.get("RBDML_CACHE") or "~/.cache/robustbench-dml")


def expanded(path: str | Path) -> Path:
    """The path with `~` as the home folder.

    Raises:
        RbdmlError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise RbdmlError(f"{path}: there is no such home folder: write the whole path") from None


@dataclass(frozen=True)
class DatasetStatus:
    """A data set on this machine.

    Attributes:
        where: its folder.
        train: (images, classes) that its lists have.
        test: likewise.
        decoded: state of the decoded images: `in memory`, `kept`, `checked` (without pixels), `in part` or `not yet`.
        hashes: SHA-256 as records give them, as far as they are known.
    """

    where: Path
    train: tuple[int, int]
    test: tuple[int, int]
    decoded: str
    hashes: Mapping[str, str]


@dataclass(frozen=True)
class DownloadRequest:
    """What `rbdml data prepare` was asked for.

    Attributes:
        urls: mirrors to take instead of the known servers.
        source: an archive or a folder that is here already.
    """

    urls: tuple[str, ...] = ()
    source: Path | None = None
