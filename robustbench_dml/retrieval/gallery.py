"""The gallery, and the ranks of attacked images in it.

Tables of attacked images by gallery rows are computed in chunks, so memory stays bounded for any gallery.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from robustbench_dml.retrieval.geometry import (
    LAST_KEY,
    nearest,
    order_keys_rowwise,
    rowwise_distance,
    tied_share,
    unit64,
    unit_keys,
)
from robustbench_dml.retrieval.rank_hinge import TILE, SortedLists

CHUNK = 2**25  # (rows x gallery) numbers in memory at once: 256 MiB in float64
KEPT = 2**26  # numbers of a gallery up to which a float64 copy is kept: 512 MiB


@dataclass(frozen=True)
class Gallery:
    """Benign embeddings of all test images.

    Attributes:
        embeddings: (N, D) unit vectors.
        labels: (N,) classes.
    """

    embeddings: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def keys(self, embeddings: Tensor) -> Tensor:
        """Return `order_keys` of the whole gallery, tile by tile: (B, D) -> (B, N)."""
        queries = unit64(embeddings)
        keys = torch.empty(len(embeddings), len(self), dtype=torch.int64, device=embeddings.device)
        for start in range(0, len(self), TILE):
            tile = slice(start, start + TILE)
            rows = self._unit64[tile] if self._unit64 is not None else unit64(self.embeddings[tile])
            keys[:, tile] = unit_keys(queries, rows)
        return keys

    def members_of(self, labels: Tensor) -> Tensor:
        """Return the (n, M) rows of these (n,) classes, filled up with N; M is the size of the largest class."""
        classes, table = self._members
        place = torch.searchsorted(classes, labels).clamp_max(len(classes) - 1)
        return table[torch.where(classes[place] == labels, place, len(classes))]

    @cached_property
    def _members(self) -> tuple[Tensor, Tensor]:
        """The (C,) classes in order, and the rows of each; the last line is for classes without rows."""
        classes, number, count = self.labels.unique(return_inverse=True, return_counts=True)
        order = number.argsort(stable=True)
        place = torch.arange(len(order), device=order.device) - (count.cumsum(0) - count)[number[order]]
        table = torch.full((len(classes) + 1, int(count.max())), len(self), device=order.device)
        table[number[order], place] = order
        return classes, table

    @cached_property
    def _unit64(self) -> Tensor | None:
        return unit64(self.embeddings) if self.embeddings.numel() <= KEPT else None


@dataclass(frozen=True)
class Items:
    """Attacked images, by their (B,) rows in the gallery. Their neighbours are searched once."""

    gallery: Gallery
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def nearest(self) -> Tensor:
        """(B, K) nearest 1% of the other rows, at least ten, in order, ties by row."""
        return self._neighbours[0]

    @property
    def percent(self) -> int:
        """Number of rows in 1% of the others, at least one."""
        return max(1, round(0.01 * (len(self.gallery) - 1)))

    @cached_property
    def nearest_wrong(self) -> Tensor:
        """(B, 1) nearest row of another class, ties by row."""
        return self._neighbours[1]

    @cached_property
    def _neighbours(self) -> tuple[Tensor, Tensor]:
        labels, many = self.gallery.labels, max(self.percent, min(10, len(self.gallery) - 1))

        def find(rows: Tensor) -> tuple[Tensor, Tensor]:
            keys = self.gallery.keys(self.gallery.embeddings[rows]).scatter_(1, rows[:, None], LAST_KEY)
            near = nearest(keys, many)
            return near, nearest(keys.masked_fill_(labels == labels[rows][:, None], LAST_KEY), 1)

        return in_chunks(find, self.rows, width=len(self.gallery))


@dataclass(frozen=True)
class Block:
    """Attacked images with the targets of one attack.

    Attributes:
        gallery: N benign embeddings.
        items: (B,) gallery row of each attacked image. This row never competes with the image.
        targets: (B, W) gallery rows that the attack moves towards or away from, never the item itself.
    """

    gallery: Gallery
    items: Tensor
    targets: Tensor
    _whole: tuple[Block, Tensor] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: Tensor) -> Block:
        """Return these (n,) rows of the block, in this order. Rows may repeat."""
        whole, before = self._whole or (self, None)
        return Block(
            self.gallery, self.items[rows], self.targets[rows], (whole, rows if before is None else before[rows])
        )

    @cached_property
    def benign(self) -> Tensor:
        """(B, D) benign embeddings of the attacked images."""
        return self.gallery.embeddings[self.items]

    @cached_property
    def labels(self) -> Tensor:
        """(B,) classes of the attacked images."""
        return self.gallery.labels[self.items]

    @cached_property
    def target_embeddings(self) -> Tensor:
        """(B, W, D) embeddings of the targets."""
        return self.gallery.embeddings[self.targets]

    def distance_to(self, embeddings: Tensor, rows: Tensor) -> Tensor:
        """Return the distances from each attacked embedding to gallery rows: (B, D), (B, W) -> (B, W)."""
        return rowwise_distance(embeddings[:, None], self.gallery.embeddings[rows])

    def distance_to_targets(self, embeddings: Tensor) -> Tensor:
        """Return the distances from each attacked embedding to its targets: (B, D) -> (B, W)."""
        return rowwise_distance(embeddings[:, None], self.target_embeddings)

    @cached_property
    def target_lists(self) -> SortedLists:
        """Benign ranking lists of all targets of the block that this one was taken from; see `list_rows`."""
        whole = self._whole[0] if self._whole else self
        if whole is not self:
            return whole.target_lists
        skipped = torch.stack([self.items[:, None].expand_as(self.targets), self.targets], dim=2)
        return SortedLists(self.target_embeddings.flatten(0, 1), self.gallery.embeddings, skipped.flatten(0, 1))

    @cached_property
    def list_rows(self) -> Tensor:
        """(B, W) index of each target's list in `target_lists`."""
        rows = torch.arange(len(self), device=self.items.device) if self._whole is None else self._whole[1]
        width = self.targets.shape[1]
        return rows[:, None] * width + torch.arange(width, device=rows.device)

    def rank_of_item(self, embeddings: Tensor) -> Tensor:
        """Return the share of the gallery before the attacked item in each target's list: (B, D) -> (B, W)."""
        width = self.targets.shape[1]

        def rank(moved: Tensor, own: Tensor, target: Tensor) -> Tensor:
            query = self.gallery.embeddings[target]
            keys, item = self.gallery.keys(query), order_keys_rowwise(moved, query)
            return tied_share(item[:, None], keys, torch.stack([own, target], 1)[:, None]).squeeze(1)

        flat = (embeddings.repeat_interleave(width, 0), self.items.repeat_interleave(width), self.targets.flatten())
        return in_chunks(rank, *flat, width=len(self.gallery)).view(-1, width)

    def rank_of_target(self, embeddings: Tensor) -> Tensor:
        """Return the share of the gallery before each target in the attacked query's list: (B, D) -> (B, W)."""

        def rank(moved: Tensor, own: Tensor, target: Tensor) -> Tensor:
            keys = self.gallery.keys(moved)
            skipped = torch.stack([own[:, None].expand_as(target), target], dim=2)
            return tied_share(keys.gather(1, target), keys, skipped)

        return in_chunks(rank, embeddings, self.items, self.targets, width=len(self.gallery))

    def position_of_target(self, embeddings: Tensor) -> Tensor:
        """Count the rows before each target in the attacked query's list, ties by row: (B, D) -> (B, W)."""
        rows = torch.arange(len(self.gallery), device=self.items.device)

        def count(moved: Tensor, own: Tensor, targets: Tensor) -> Tensor:
            keys = self.gallery.keys(moved).scatter_(1, own[:, None], LAST_KEY)
            before = [
                ((keys < keys.gather(1, target)) | ((keys == keys.gather(1, target)) & (rows < target))).sum(1)
                for target in targets.split(1, dim=1)
            ]
            return torch.stack(before, dim=1)

        return in_chunks(count, embeddings, self.items, self.targets, width=len(self.gallery))

    def recall_at_1(self, embeddings: Tensor) -> Tensor:
        """Return 1 if the nearest gallery row of the attacked query has its class, else 0: (B, D) -> (B,)."""

        def first(moved: Tensor, own: Tensor) -> Tensor:
            return nearest(self.gallery.keys(moved).scatter_(1, own[:, None], LAST_KEY), 1).squeeze(1)

        found = in_chunks(first, embeddings, self.items, width=len(self.gallery))
        return (self.gallery.labels[found] == self.labels).double()


T = TypeVar("T", Tensor, tuple[Tensor, Tensor], tuple[Tensor, ...])


def in_chunks(function: Callable[..., T], *arguments: Tensor, width: int) -> T:
    """Call a function on a few rows at a time and concatenate its results.

    Args:
        function: takes (b, ...) tensors and returns one or several (b, ...) tensors.
        arguments: (B, ...) tensors.
        width: numbers in memory per row.
    """
    parts = [function(*chunk) for chunk in zip(*(a.split(max(1, CHUNK // width)) for a in arguments), strict=True)]
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]
    return torch.cat(parts)
