"""Distances and rank keys of unit vectors.

Distances with gradients keep the precision of the embeddings. Ranks are decided by `order_keys` alone: float64
products on a fixed grid that is coarser than their rounding. Equal embeddings tie and block sizes do not matter, except
for about one product in 10^7 on the edge of two cells.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_dml.utils.precision import products_in

# Keys resolve 2^-29 in cosine similarity: finer than the rounding of float32 embeddings (about 1e-7), coarser than the
# rounding of a float64 product (about 1e-15).
KEY_SCALE = 2.0**29
LAST_KEY = 2**31  # larger than every real key
UNMOVED = 1e-4  # below this distance, `shift` chooses a direction


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Return Euclidean distances along the last axis: (..., D), (..., D) -> (...). The gradient at zero is zero."""
    return torch.linalg.vector_norm(a - b, dim=-1)


def pairwise_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return distances between unit vectors from one matrix product: (B, D), (N, D) -> (B, N).

    Equal vectors come out up to 9e-4 apart in float32, 1e-7 in float64. The gradient at zero is zero.
    """
    with products_in("fp32"):
        return _chord(a @ b.T)


def rowwise_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return distances of matching rows, rounded like `pairwise_distance`: (..., D), (..., D) -> (...)."""
    return _chord((a * b).sum(-1))


def _chord(similarity: Tensor) -> Tensor:
    return (2 - 2 * similarity).clamp_min(1e-14).sqrt()


def shift(moved: Tensor, origin: Tensor) -> Tensor:
    """Return the distance from the benign embedding, with a usable gradient at zero: (B, D), (B, D) -> (B,).

    Below `UNMOVED` the gradient would be zero or rounding noise. There the origin is displaced by `UNMOVED` in a fixed
    direction, the tiny offset of the published embedding-shift attack.
    """
    difference = moved - origin
    unmoved = torch.linalg.vector_norm(difference.detach(), dim=-1, keepdim=True) < UNMOVED
    return torch.linalg.vector_norm(difference + unmoved * (UNMOVED / moved.shape[-1] ** 0.5), dim=-1)


def order_keys(queries: Tensor, gallery: Tensor) -> Tensor:
    """Return integers that rise with distance: (B, D), (N, D) -> (B, N) int64 in [0, 2^30].

    Rows are normalised again in float64, because float32 rows have unit length only to 1e-7.
    """
    return unit_keys(unit64(queries), unit64(gallery))


def unit64(embeddings: Tensor) -> Tensor:
    """Normalise in float64, to unit length within 1e-16: (..., D) -> (..., D)."""
    return F.normalize(embeddings.double(), dim=-1)


def unit_keys(queries: Tensor, gallery: Tensor) -> Tensor:
    """Return `order_keys` of vectors from `unit64`."""
    return _to_keys(queries @ gallery.T)


def order_keys_rowwise(a: Tensor, b: Tensor) -> Tensor:
    """Return `order_keys` of matching rows: (..., D), (..., D) -> (...)."""
    return _to_keys(cosine(a, b))


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return cosine similarities along the last axis, in float64: (..., D), (..., D) -> (...)."""
    return (unit64(a) * unit64(b)).sum(-1)


def _to_keys(similarity: Tensor) -> Tensor:
    return ((1 - similarity) * KEY_SCALE).round_().clamp_(0, 2 * KEY_SCALE).long()


def tied_share(item: Tensor, keys: Tensor, skipped: Tensor) -> Tensor:
    """Return the share of competitors that rank before an item. A tie counts half.

    Args:
        item: (B, W) keys of the items.
        keys: (B, N) keys of the gallery.
        skipped: (B, W, S) distinct columns that do not compete: the query itself, the item itself.

    Returns:
        (B, W) float64 in [0, 1]: 0 for the first item, 1 for the last, 0.5 if all tie.
    """
    not_competing = keys.gather(1, skipped.flatten(1)).view_as(skipped)
    total = keys.shape[1] - skipped.shape[2]
    columns = [
        (_before(key[:, None], keys) - _before(key[:, None], others)) / total
        for key, others in zip(item.unbind(1), not_competing.unbind(1), strict=True)
    ]
    return torch.stack(columns, dim=1)


def _before(item: Tensor, keys: Tensor) -> Tensor:
    return (keys < item).sum(1, dtype=torch.float64) + (keys == item).sum(1, dtype=torch.float64) / 2


def nearest(keys: Tensor, k: int) -> Tensor:
    """Return the columns of the k smallest keys of each row, in order, ties by column: (B, N) -> (B, k)."""
    columns = torch.arange(keys.shape[1], device=keys.device)
    return (keys * keys.shape[1] + columns).topk(k, largest=False, sorted=True).indices
