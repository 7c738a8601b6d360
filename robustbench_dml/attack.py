"""The contract of an attack: what a file under `attacks/` fills in, over embeddings and never over images.

The optimiser is a parameter of the evaluation, so an attack has no line about steps or gradients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from robustbench_dml.geometry import (
    nearest,
    order_keys,
    order_keys_rowwise,
    pairwise_distance,
    rowwise_distance,
    share_ahead,
)

# draws(n) -> (B, n) uniform numbers in [0, 1) that belong to each attacked item
Draws = Callable[[int], Tensor]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the score table.

    Attributes:
        name: as printed in the papers.
        meaning: what the value is, for a reader of the table.
        scale: the published unit in terms of ours (100 where we keep a fraction and the papers print per cent).
        ers_slope: with `ers_offset`, the linear map from the published value to the 0..100 of the Empirical
            Robustness Score.
        ers_offset: see above.
    """

    name: str
    meaning: str
    scale: float
    ers_slope: float
    ers_offset: float

    def published(self, value: float) -> float:
        """A mean of ours in the unit of the papers."""
        return self.scale * value

    def ers(self, published: float) -> float:
        """A published value on the scale of the score. Not clipped, as published: it can pass 0 and 100."""
        return self.ers_offset + self.ers_slope * published


@dataclass(frozen=True)
class Gallery:
    """The benign embeddings that everything is ranked against: (N, D) unit vectors and their (N,) classes."""

    embeddings: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Block:
    """Some of the attacked images, by their rows in the gallery, with their targets.

    Attributes:
        gallery: N benign embeddings.
        items: (B,) gallery row of each attacked image. Its benign self never competes with it.
        targets: (B, W) gallery rows that each attack is about, as `Attack.choose_targets` gave them.
    """

    gallery: Gallery
    items: Tensor
    targets: Tensor

    @cached_property
    def own(self) -> Tensor:
        """(B, D) benign embeddings of the attacked images."""
        return self.gallery.embeddings[self.items]

    @cached_property
    def target_embeddings(self) -> Tensor:
        """(B, W, D) embeddings of the targets."""
        return self.gallery.embeddings[self.targets]

    @cached_property
    def others(self) -> Tensor:
        """(B, N) bool: all rows but the item's own."""
        return torch.arange(len(self.gallery), device=self.items.device) != self.items[:, None]

    @cached_property
    def competing(self) -> Tensor:
        """(B, W, N) bool: rows that a rank counts, all but the item's own and the target's own."""
        rows = torch.arange(len(self.gallery), device=self.items.device)
        return self.others[:, None] & (rows != self.targets[..., None])

    @cached_property
    def same_class(self) -> Tensor:
        """(B, N) bool: rows of the item's class, without its own."""
        return (self.gallery.labels == self.gallery.labels[self.items][:, None]) & self.others

    @cached_property
    def other_class(self) -> Tensor:
        """(B, N) bool: rows of the other classes."""
        return self.gallery.labels != self.gallery.labels[self.items][:, None]

    @cached_property
    def target_distances(self) -> Tensor:
        """(B, W, N) distances from each target to the gallery."""
        flat = pairwise_distance(self.target_embeddings.flatten(0, 1), self.gallery.embeddings)
        return flat.unflatten(0, self.targets.shape)

    def distance_to_targets(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B, W) distances from each attacked embedding to its targets."""
        return rowwise_distance(embeddings[:, None], self.target_embeddings)

    def rank_of_item(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B, W) share of the gallery that ranks before the attacked item in each target's list."""
        keys = order_keys(self.target_embeddings.flatten(0, 1), self.gallery.embeddings)
        item = order_keys_rowwise(embeddings[:, None], self.target_embeddings)
        return share_ahead(item, keys.unflatten(0, self.targets.shape), self.competing)

    def rank_of_target(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B, W) share of the gallery that ranks before each target in the attacked query's list."""
        keys = order_keys(embeddings, self.gallery.embeddings)
        return share_ahead(keys.gather(1, self.targets), keys[:, None], self.competing)

    def place_of_target(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B, W) how many rows come before each target in the attacked query's list, ties by row."""
        keys = order_keys(embeddings, self.gallery.embeddings)[:, None]
        rows, item = torch.arange(len(self.gallery), device=self.items.device), self.targets[..., None]
        key = keys.squeeze(1).gather(1, self.targets)[..., None]
        return (((keys < key) | ((keys == key) & (rows < item))) & self.competing).sum(-1)

    def recall_at_1(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B,) 1 where the attacked query's nearest gallery row is of its class, else 0."""
        keys = order_keys(embeddings, self.gallery.embeddings).masked_fill_(~self.others, _LAST)
        first = nearest(keys, 1).squeeze(1)
        return (self.gallery.labels[first] == self.gallery.labels[self.items]).double()


_LAST = 2**31  # a key after every real one


class Attack(ABC):
    """Moves the embedding of one image to where it does harm."""

    def choose_targets(self, gallery: Gallery, items: Tensor, draws: Draws) -> Tensor:
        """(B, W) gallery rows that this attack on `items` is about; by default none, W = 0."""
        return items.new_empty((len(items), 0))

    @abstractmethod
    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        """(B, D) attacked embeddings -> (B,), to be minimised by the attacker."""

    @abstractmethod
    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        """(B, D) attacked embeddings -> one (B,) float64 per column, as fractions."""


def random_other(gallery: Gallery, items: Tensor, draws: Draws) -> Tensor:
    """(B, 1): a random row of the gallery other than the item's own."""
    row = (draws(1).to(items.device) * (len(gallery) - 1)).long()
    return row + (row >= items[:, None])


def random_near(gallery: Gallery, items: Tensor, draws: Draws, *, share: float = 0.01) -> Tensor:
    """(B, 1): a random one of the `share` of the gallery (at least one row) that is nearest to the item."""
    near = nearest_others(gallery, items, max(1, round(share * (len(gallery) - 1))))
    return near.gather(1, (draws(1).to(items.device) * near.shape[1]).long())


def nearest_others(gallery: Gallery, items: Tensor, k: int) -> Tensor:
    """(B, k): the rows nearest to each item, without its own, ties by row."""
    keys = order_keys(gallery.embeddings[items], gallery.embeddings)
    return nearest(keys.scatter_(1, items[:, None], _LAST), k)


def nearest_wrong(gallery: Gallery, items: Tensor) -> Tensor:
    """(B, 1): the nearest row of another class, ties by row."""
    keys = order_keys(gallery.embeddings[items], gallery.embeddings)
    return nearest(keys.masked_fill_(gallery.labels == gallery.labels[items][:, None], _LAST), 1)


def mean_overtaking(item: Tensor, others: Tensor, competing: Tensor, *, sign: int) -> Tensor:
    """How far an item is from having passed everything, the surrogate of a rank.

    Args:
        item: (B, W) distances of the item.
        others: (B, W, N) distances of the gallery in the same lists.
        competing: (B, W, N) bool, the rows that count.
        sign: 1 to bring the item before the others, -1 behind.

    Returns:
        (B,) mean over targets and competitors of max(0, sign * (item - other)).
    """
    gaps = (sign * (item.unsqueeze(-1) - others)).relu().masked_fill(~competing, 0)
    return (gaps.sum(-1) / competing.sum(-1)).mean(-1)
