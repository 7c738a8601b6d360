"""What attacks are ranked against: the gallery, and the attacked images' places in it.

Everything that holds a number for each attacked image and each gallery row is worked out in chunks of rows, so
that memory stays bounded whatever the gallery's size.
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

CHUNK = 2**25  # (rows x gallery) numbers that are worked on at once: 256 MiB in float64
KEPT = 2**26  # numbers of a gallery up to which it is also kept in float64: 512 MiB


@dataclass(frozen=True)
class Gallery:
    """The benign embeddings that everything is ranked against.

    Attributes:
        embeddings: (N, D) unit vectors.
        labels: (N,) their classes.
    """

    embeddings: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def keys(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B, N) `order_keys` of the whole gallery, which is never copied as a whole where it is large."""
        directions = unit64(embeddings)
        keys = torch.empty(len(embeddings), len(self), dtype=torch.int64, device=embeddings.device)
        for start in range(0, len(self), TILE):
            tile = slice(start, start + TILE)
            known = self._unit64[tile] if self._unit64 is not None else unit64(self.embeddings[tile])
            keys[:, tile] = unit_keys(directions, known)
        return keys

    @cached_property
    def _unit64(self) -> Tensor | None:
        return unit64(self.embeddings) if self.embeddings.numel() <= KEPT else None


@dataclass(frozen=True)
class Items:
    """Some of the attacked images, by their (B,) rows in the gallery. Their neighbours are looked for once."""

    gallery: Gallery
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def nearest(self) -> Tensor:
        """(B, K) the nearest 1% of the other rows (at least the first ten), nearest first, ties by row."""
        return self._neighbours[0]

    @property
    def percent(self) -> int:
        """How many rows are 1% of the others; at least one."""
        return max(1, round(0.01 * (len(self.gallery) - 1)))

    @cached_property
    def nearest_wrong(self) -> Tensor:
        """(B, 1) the nearest row of another class, ties by row."""
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
    """Some of the attacked images with their targets, as one attack sees them.

    Attributes:
        gallery: N benign embeddings.
        items: (B,) gallery row of each attacked image. Its benign self never competes with it.
        targets: (B, W) gallery rows that the attack is about, never the item's own.
    """

    gallery: Gallery
    items: Tensor
    targets: Tensor
    _whole: tuple[Block, Tensor] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: Tensor) -> Block:
        """The attacked images in these (n,) rows of the block, in this order; a row may come several times."""
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
        """(B, D), (B, W) gallery rows -> (B, W) distances from each attacked embedding to these rows."""
        return rowwise_distance(embeddings[:, None], self.gallery.embeddings[rows])

    def distance_to_targets(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B, W) distances from each attacked embedding to its targets."""
        return rowwise_distance(embeddings[:, None], self.target_embeddings)

    @cached_property
    def target_lists(self) -> SortedLists:
        """The benign lists of the targets of the *whole* block, as `list_rows` counts them."""
        whole = self._whole[0] if self._whole else self
        if whole is not self:
            return whole.target_lists
        skipped = torch.stack([self.items[:, None].expand_as(self.targets), self.targets], dim=2)
        return SortedLists(self.target_embeddings.flatten(0, 1), self.gallery.embeddings, skipped.flatten(0, 1))

    @cached_property
    def list_rows(self) -> Tensor:
        """(B, W) place of each target's list in `target_lists`."""
        rows = torch.arange(len(self), device=self.items.device) if self._whole is None else self._whole[1]
        width = self.targets.shape[1]
        return rows[:, None] * width + torch.arange(width, device=rows.device)

    def rank_of_item(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B, W) share of the gallery that ranks before the attacked item in each target's list."""
        width = self.targets.shape[1]

        def rank(moved: Tensor, own: Tensor, target: Tensor) -> Tensor:
            query = self.gallery.embeddings[target]
            keys, item = self.gallery.keys(query), order_keys_rowwise(moved, query)
            return tied_share(item[:, None], keys, torch.stack([own, target], 1)[:, None]).squeeze(1)

        flat = (embeddings.repeat_interleave(width, 0), self.items.repeat_interleave(width), self.targets.flatten())
        return in_chunks(rank, *flat, width=len(self.gallery)).view(-1, width)

    def rank_of_target(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B, W) share of the gallery that ranks before each target in the attacked query's list."""

        def rank(moved: Tensor, own: Tensor, target: Tensor) -> Tensor:
            keys = self.gallery.keys(moved)
            skipped = torch.stack([own[:, None].expand_as(target), target], dim=2)
            return tied_share(keys.gather(1, target), keys, skipped)

        return in_chunks(rank, embeddings, self.items, self.targets, width=len(self.gallery))

    def position_of_target(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B, W) how many rows come before each target in the attacked query's list, ties by row."""
        rows = torch.arange(len(self.gallery), device=self.items.device)

        def place(moved: Tensor, own: Tensor, targets: Tensor) -> Tensor:
            keys = self.gallery.keys(moved).scatter_(1, own[:, None], LAST_KEY)
            return torch.stack(
                [
                    ((keys < key) | ((keys == key) & (rows < target))).sum(1)
                    for key, target in ((keys.gather(1, one[:, None]), one[:, None]) for one in targets.unbind(1))
                ],
                dim=1,
            )

        return in_chunks(place, embeddings, self.items, self.targets, width=len(self.gallery))

    def recall_at_1(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B,) 1 where the attacked query's nearest gallery row is of its class, else 0."""

        def first(moved: Tensor, own: Tensor) -> Tensor:
            return nearest(self.gallery.keys(moved).scatter_(1, own[:, None], LAST_KEY), 1).squeeze(1)

        found = in_chunks(first, embeddings, self.items, width=len(self.gallery))
        return (self.gallery.labels[found] == self.labels).double()


T = TypeVar("T", Tensor, tuple[Tensor, Tensor])


def in_chunks(function: Callable[..., T], *arguments: Tensor, width: int) -> T:
    """Call a function of rows on a few rows at a time and put its results together.

    Args:
        function: of (b, ...) tensors, with one or two (b, ...) results.
        arguments: (B, ...) tensors.
        width: numbers that the function holds for each row.
    """
    parts = [function(*chunk) for chunk in zip(*(a.split(max(1, CHUNK // width)) for a in arguments), strict=True)]
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]
    return torch.cat(parts)
