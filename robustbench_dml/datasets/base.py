"""What a data set is to the harness, and where data folders are looked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from robustbench_dml.embedder import to_unit_range


@dataclass(frozen=True)
class Split:
    """Images held in memory as uint8.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64 classes.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Split:
        """The same split on another device."""
        return Split(self.images.to(device), self.labels.to(device))

    def batch(self, indices: Tensor) -> Tensor:
        """(B,) rows -> (B, C, H, W) float in [0, 1]."""
        return to_unit_range(self.images[indices])


@dataclass(frozen=True)
class Dataset:
    """Training and test images, and the hash of each file they came from (SHA-256 of its content)."""

    name: str
    train: Split
    test: Split
    hashes: Mapping[str, str]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.test.images.shape[1:]
        return channels, height, width


CACHE = Path("~/.cache/robustbench-dml/data")


@dataclass(frozen=True)
class Roots:
    """Where data may lie and whether it may be downloaded."""

    data_root: Path | None = None  # --data-root
    download: bool = False

    @property
    def folders(self) -> list[Path]:
        """Folders to look in: the one that was asked for, $RBDML_DATA, and where downloads go without them."""
        named = [self.data_root, os.environ.get("RBDML_DATA"), CACHE]
        return [Path(folder).expanduser() for folder in named if folder]
