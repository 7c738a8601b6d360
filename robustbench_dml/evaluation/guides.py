"""Images to blend an attacked image with: near the attacked image in pixels, and at the goal of the attack."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_dml.datasets.base import Split
from robustbench_dml.evaluation.attack import Attack
from robustbench_dml.retrieval.gallery import Block, Gallery, in_chunks
from robustbench_dml.retrieval.geometry import nearest
from robustbench_dml.solvers.guides import MOST, Guides

SIDE = 32  # side in pixels of the reduced images that are compared
READ = 256  # images reduced at once
TILE = 4096  # images compared at once


def thumbnails(split: Split) -> Tensor:
    """(N, C h w) all images of a split, reduced to at most 32x32."""
    blocks = torch.arange(len(split), device=split.labels.device).split(READ)
    return torch.cat([_reduced(split.batch(rows)) for rows in blocks])


def guides_of(attack: Attack, block: Block, split: Split, small: Tensor) -> Guides:
    """The guides of attacked images, nearest in pixels first.

    A query is guided to images of other classes, a candidate to the first 1% of its first target's list.

    Args:
        attack: the attack to guide.
        block: the attacked images.
        split: the gallery's images.
        small: the `thumbnails` of the gallery.
    """
    labels = block.gallery.labels

    def of_class(rows: Tensor, _: Tensor) -> Tensor:
        return _nearest_rows(small, rows, labels[rows][:, None] != labels)

    def of_list(rows: Tensor, targets: Tensor) -> Tensor:
        return _nearest_rows(small, rows, _first_percent(block.gallery, targets))

    targets = block.targets[:, 0] if attack.of_candidate else block.items
    choose = of_list if attack.of_candidate else of_class
    return Guides(in_chunks(choose, block.items, targets, width=len(labels)), split.batch)


def _first_percent(gallery: Gallery, queries: Tensor) -> Tensor:
    """(B,) rows -> (B, N) bool, true for the query itself and for the first 1% of its list."""
    keys = gallery.keys(gallery.embeddings[queries])
    first = nearest(keys, 1 + max(1, round(0.01 * (len(gallery) - 1))))
    return torch.zeros_like(keys, dtype=torch.bool).scatter_(1, first, value=True).scatter_(1, queries[:, None], True)


def _nearest_rows(small: Tensor, rows: Tensor, allowed: Tensor) -> Tensor:
    """(B, 16) allowed gallery rows nearest in pixels to each of `rows`; if there are fewer, the last row repeats."""
    own = small[rows].double()  # float64, so that the order hardly depends on the batch
    distance = torch.cat([torch.cdist(own, tile.double()) for tile in small.split(TILE)], dim=1)
    distance.masked_fill_(~allowed, torch.inf)
    distance.scatter_(1, rows[:, None], torch.inf)
    found = distance.topk(min(MOST, len(small)), dim=1, largest=False, sorted=True)
    usable = (found.values < torch.inf).sum(1, keepdim=True).clamp_min(1) - 1
    return found.indices.gather(1, torch.arange(found.indices.shape[1], device=rows.device).minimum(usable))


def _reduced(images: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(images, (min(SIDE, images.shape[-2]), min(SIDE, images.shape[-1]))).flatten(1)
