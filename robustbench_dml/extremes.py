"""The gallery rows that decide an attacked query's first places, found by one scan in tiles."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustbench_dml.gallery import Gallery
from robustbench_dml.overtaking import TILE


class Extremes(NamedTuple):
    """(n, k) gallery rows, the most extreme first, and (n, k) whether there were as many at all."""

    rows: Tensor
    found: Tensor


@torch.no_grad()
def extreme_rows(
    embeddings: Tensor,
    gallery: Gallery,
    labels: Tensor,
    *,
    same: bool,
    farthest: bool = False,
    without: Tensor | None = None,
    k: int = 1,
) -> Extremes:
    """The k nearest (or farthest) gallery rows of the embeddings' own classes, or of the other classes.

    Choosing rows carries no gradient; the distance to what was chosen does.

    Args:
        embeddings: (n, D) unit vectors.
        gallery: N of them, with classes.
        labels: (n,) classes of the embeddings.
        same: rows of the embedding's class, else of all others.
        farthest: the farthest instead of the nearest.
        without: (n,) a gallery row that does not count.
        k: how many.
    """
    sign = -1 if farthest else 1
    values = embeddings.new_empty(len(embeddings), 0)
    rows = labels.new_empty(len(embeddings), 0)
    for start in range(0, len(gallery), TILE):
        stop = min(start + TILE, len(gallery))
        near = (embeddings @ gallery.embeddings[start:stop].T).mul_(sign)
        near.masked_fill_((gallery.labels[start:stop] == labels[:, None]) != same, -torch.inf)
        if without is not None:
            near.masked_fill_(torch.arange(start, stop, device=rows.device) == without[:, None], -torch.inf)
        best = near.topk(min(k, stop - start), dim=1)
        values, order = torch.cat([values, best.values], 1).topk(min(k, values.shape[1] + best.values.shape[1]), dim=1)
        rows = torch.cat([rows, best.indices + start], 1).gather(1, order)
    return Extremes(rows, values > -torch.inf)
