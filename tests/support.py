"""What several tests use."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SMALL_IMAGE = (1, 4, 4)


def unit_rows(rows: int, dimension: int, *, seed: int) -> Tensor:
    """(rows, dimension) float64 unit vectors."""
    return F.normalize(torch.randn(rows, dimension, generator=torch.Generator().manual_seed(seed)).double(), dim=1)
