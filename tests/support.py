"""What several tests use."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_dml.datasets.base import Split

SMALL_IMAGE = (1, 4, 4)


def unit_rows(rows: int, dimension: int, *, seed: int) -> Tensor:
    """(rows, dimension) float64 unit vectors."""
    return F.normalize(torch.randn(rows, dimension, generator=torch.Generator().manual_seed(seed)).double(), dim=1)


def pixels(split: Split) -> Tensor:
    """(N, C, H, W) uint8: all images of a split, as stored."""
    return split.images[torch.arange(len(split))]
