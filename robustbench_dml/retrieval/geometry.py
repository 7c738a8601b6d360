"""Geometry of the unit sphere: distances, hardness, the triplet loss, and ranks.

Distances that carry gradients are in the embeddings' own precision. Everything that decides a *rank* goes
through `order_keys`: float64 products on a fixed grid that is coarser than their rounding, so that equal
embeddings tie and block sizes do not matter, but for the odd product (about one in 10^7) on the edge of two cells.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Keys resolve 2^-29 in cosine similarity: finer than the rounding of float32 embeddings (about 1e-7), coarser
# than that of a float64 product (about 1e-15).
KEY_SCALE = 2.0**29
LAST_KEY = 2**31  # after every real key
# Below this distance an embedding counts as unmoved, and `shift` chooses a direction for it.
UNMOVED = 1e-4


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distance along the last axis: (..., D), (..., D) -> (...). Its gradient at zero is zero."""
    return torch.linalg.vector_norm(a - b, dim=-1)


def pairwise_distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances between unit vectors: (B, D), (N, D) -> (B, N), from one matrix product.

    Equal vectors come out up to 9e-4 apart in float32, 1e-7 in float64. The gradient at zero is zero.
    """
    return _chord(a @ b.T)


def rowwise_distance(a: Tensor, b: Tensor) -> Tensor:
    """`pairwise_distance` of matching rows, with the same rounding: (..., D), (..., D) -> (...)."""
    return _chord((a * b).sum(-1))


def _chord(similarity: Tensor) -> Tensor:
    return (2 - 2 * similarity).clamp_min(1e-14).sqrt()


def shift(moved: Tensor, origin: Tensor) -> Tensor:
    """Distance of `moved` from its own benign embedding: (B, D), (B, D) -> (B,), with a usable gradient at zero.

    Where the two are less than `UNMOVED` apart the gradient would be zero or rounding noise, so the origin is
    displaced by `UNMOVED` in a fixed direction (the tiny offset of the published embedding-shift attack).
    """
    difference = moved - origin
    unmoved = torch.linalg.vector_norm(difference.detach(), dim=-1, keepdim=True) < UNMOVED
    return torch.linalg.vector_norm(difference + unmoved * (UNMOVED / moved.shape[-1] ** 0.5), dim=-1)


def order_keys(queries: Tensor, gallery: Tensor) -> Tensor:
    """Integers that rise with the distance of directions: (B, D), (N, D) -> (B, N) int64 in [0, 2^30].

    Rows are normalised once more in float64, because float32 rows are of unit length only to 1e-7.
    """
    return unit_keys(unit64(queries), unit64(gallery))


def unit64(embeddings: Tensor) -> Tensor:
    """Directions in float64, of unit length to 1e-16: (..., D) -> (..., D)."""
    return F.normalize(embeddings.double(), dim=-1)


def unit_keys(queries: Tensor, gallery: Tensor) -> Tensor:
    """`order_keys` of what `unit64` returned."""
    return _to_keys(queries @ gallery.T)


def order_keys_rowwise(a: Tensor, b: Tensor) -> Tensor:
    """`order_keys` of matching rows: (..., D), (..., D) -> (...)."""
    return _to_keys(cosine(a, b))


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine similarity along the last axis, in float64: (..., D), (..., D) -> (...)."""
    return (unit64(a) * unit64(b)).sum(-1)


def _to_keys(similarity: Tensor) -> Tensor:
    return ((1 - similarity) * KEY_SCALE).round_().clamp_(0, 2 * KEY_SCALE).long()


def tied_share(item: Tensor, keys: Tensor, skipped: Tensor) -> Tensor:
    """Share of the competitors that rank before an item; a tie counts as half before, half behind.

    Args:
        item: (B, W) keys of the items.
        keys: (B, N) keys of the gallery.
        skipped: (B, W, S) the different columns that do not compete (the query's own, the item's own).

    Returns:
        (B, W) float64 in [0, 1]: 0 = the item is first, 1 = last, 0.5 = everything ties.
    """
    not_competing = keys.gather(1, skipped.flatten(1)).view_as(skipped)
    total = keys.shape[1] - skipped.shape[2]
    columns = [
        (_before(one[:, None], keys) - _before(one[:, None], without)) / total
        for one, without in zip(item.unbind(1), not_competing.unbind(1), strict=True)
    ]
    return torch.stack(columns, dim=1)


def _before(item: Tensor, keys: Tensor) -> Tensor:
    return (keys < item).sum(1, dtype=torch.float64) + (keys == item).sum(1, dtype=torch.float64) / 2


def nearest(keys: Tensor, k: int) -> Tensor:
    """Columns of the k smallest keys of each row, nearest first, ties by column: (B, N) -> (B, k)."""
    columns = torch.arange(keys.shape[1], device=keys.device)
    return (keys * keys.shape[1] + columns).topk(k, largest=False, sorted=True).indices
