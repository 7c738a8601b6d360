"""What several tests use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
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


def describe(figure: Figure, to: Any, *, format: str | None = None, **_: Any) -> None:
    """Write the texts and the lines of a figure as JSON instead of drawing it."""
    texts = [[text.get_text(), *map(float, text.get_position())] for text in figure.findobj(Text)]
    lines = [line.get_xydata().tolist() for line in figure.findobj(Line2D)]  # type: ignore[union-attr]
    content = json.dumps([format, texts, lines]).encode()
    to.write(content) if hasattr(to, "write") else Path(to).write_bytes(content)
