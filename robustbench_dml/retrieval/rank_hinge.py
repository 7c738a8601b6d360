"""Rank hinge: a differentiable surrogate of an item's rank in a list.

`mean_x max(0, sign * (t - d(q, x)))` over a gallery x, with t the item's distance to q. With sign 1 it falls as the
item passes the others, with sign -1 as it falls behind them. Nothing is masked or sorted inside an attack's loop. If
the query is attacked, its list moves and is scanned in tiles. If a candidate is attacked, the list is sorted once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from robustbench_dml.utils.precision import products_in

TILE = 1024  # gallery rows at once: a tile of distances stays in the processor's cache
SCRATCH = 2**26  # distances at once on other devices (4 bytes each, in five tensors): few and large kernels
TABLE = 2**27  # numbers of sorted lists (2 x 4 bytes each); longer lists are scanned
SORTED = 2**24  # numbers sorted at once, to bound the memory beside the table
COINCIDENT = 1e-14  # squared distance below which two embeddings are equal, without gradient between them
STEEPEST = 0.999 * COINCIDENT**-0.5  # inverse distance of coincident embeddings


def mean_rank_hinge(
    queries: Tensor, item: Tensor, gallery: Tensor, *, own: Tensor, targets: Tensor, sign: int
) -> Tensor:
    """Scan the lists of some queries. Gradients flow to the queries and to the items' distances.

    Args:
        queries: (n, D) unit vectors.
        item: (n, W) distances of W items in each query's list.
        gallery: (N, D) unit vectors in the precision of the queries. In bfloat16, products near 1 are 2^-8 apart, and
            all rows of a nearly collapsed model would tie.
        own: (n,) gallery row of the query itself, which never competes.
        targets: (n, W) gallery row of each item, which does not compete with itself. Never `own`.
        sign: 1 to move the items before the others, -1 behind.

    Returns:
        (n,) mean over the W items and the N - 2 competitors of max(0, sign * (item - other)).
    """
    value: Tensor = _Scan.apply(queries, item, gallery, own, targets, sign)
    return value


def tile_rows(queries: Tensor) -> int:
    """Return the number of gallery rows to scan at once for (n, D) queries, by their device and the memory."""
    return TILE if queries.device.type == "cpu" else max(TILE, SCRATCH // max(1, len(queries)))


class _Scan(torch.autograd.Function):
    """Value and gradient in one pass over the gallery, without a tensor of its size."""

    @staticmethod
    @products_in("fp32")
    def forward(
        ctx: Any, queries: Tensor, item: Tensor, gallery: Tensor, own: Tensor, targets: Tensor, sign: int
    ) -> Tensor:
        n, width = item.shape
        count = width * (len(gallery) - 2)
        value, pull, slope = item.new_zeros(n), torch.zeros_like(queries), torch.zeros_like(item)
        with_gradient = any(ctx.needs_input_grad)
        skipped = torch.stack([own[:, None].expand_as(targets), targets], 2)
        at_once = tile_rows(queries)
        for start in range(0, len(gallery), at_once):
            tile = gallery[start : start + at_once]
            squared = (queries @ tile.T).mul_(-2).add_(2).clamp_min_(COINCIDENT)
            inverse = squared.rsqrt()
            distance = squared.mul_(inverse)
            if with_gradient:
                _flatten_coincident(inverse)
            weight: Tensor | None = None
            gap = distance.new_empty(n, len(tile) + 1)  # the last column takes rows skipped in other tiles
            inside = (skipped >= start) & (skipped < start + len(tile))
            columns = torch.where(inside, skipped - start, len(tile))
            for k in range(width):
                near, far = (item[:, k, None], distance) if sign > 0 else (distance, item[:, k, None])
                torch.sub(near, far, out=gap[:, :-1])
                gap.scatter_(1, columns[:, k], -1)
                ahead = gap[:, :-1].clamp_min_(0)
                value += ahead.sum(1)
                if with_gradient:
                    active = ahead.sign_()
                    slope[:, k] += active.sum(1)
                    weight = active.clone() if weight is None else weight.add_(active)
            if weight is not None:
                pull += weight.mul_(inverse) @ tile
        ctx.save_for_backward(pull.mul_(sign / count), slope.mul_(sign / count))
        return value / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        pull, slope = ctx.saved_tensors
        return pull * grad[:, None], slope * grad[:, None], None, None, None, None


def _flatten_coincident(inverse: Tensor) -> None:
    """Set the inverse distance of coincident embeddings to 0. A CPU finds the largest faster than it compares all."""
    if inverse.device.type != "cpu" or float(inverse.amax()) >= STEEPEST:
        inverse.masked_fill_(inverse >= STEEPEST, 0)


class SortedLists:
    """The fixed lists of M queries, for items that move in them.

    The hinge is piecewise linear in the item's distance. Sorted distances and their running sums give value and slope
    by one binary search. Lists whose table would not fit into memory are scanned instead.
    """

    def __init__(self, queries: Tensor, gallery: Tensor, skipped: Tensor) -> None:
        """
        Args:
            queries: (M, D) unit vectors.
            gallery: (N, D) unit vectors.
            skipped: (M, 2) two distinct gallery rows that do not compete.
        """
        self._queries, self._gallery, self._skipped = queries, gallery, skipped
        self._competitors = len(gallery) - 2
        self._table = self._sort() if len(queries) * len(gallery) <= TABLE else None

    def mean_rank_hinge(self, item: Tensor, lists: Tensor, *, sign: int) -> Tensor:
        """Return the rank hinge of items, with gradients to their distances.

        Args:
            item: (n, W) distances of the items to the queries of their lists.
            lists: (n, W) index of each item's list.
            sign: 1 to move the items before the others, -1 behind.

        Returns:
            (n,) mean over the W lists and the competitors of max(0, sign * (item - other)).
        """
        if self._table is None:
            rows, flat = lists.flatten(), item.reshape(-1, 1)
            own, target = self._skipped[rows].unbind(1)
            each = mean_rank_hinge(
                self._queries[rows], flat, self._gallery, own=own, targets=target[:, None], sign=sign
            )
            return each.view_as(item).mean(1)
        distances, sums = self._table
        ahead = _bisect(distances, lists, item.detach())
        passed = sums[lists, ahead]
        behind = sums[lists, -1] - passed, self._competitors - ahead
        total = ahead * item - passed if sign > 0 else behind[0] - behind[1] * item
        return (total / self._competitors).mean(1)

    def _sort(self) -> tuple[Tensor, Tensor]:
        many = len(self._queries)
        distances = self._queries.new_empty(many, self._competitors)
        sums = self._queries.new_zeros(many, self._competitors + 1)
        at_once = max(1, SORTED // len(self._gallery))
        for start in range(0, many, at_once):
            rows = slice(start, start + at_once)
            ordered = self._ordered(rows)
            distances[rows] = ordered
            sums[rows, 1:] = ordered.cumsum(1, dtype=torch.float64)
        return distances, sums

    @products_in("fp32")
    def _ordered(self, rows: slice) -> Tensor:
        """(m, N - 2) distances in these lists, rising."""
        away = (self._queries[rows] @ self._gallery.T).mul_(-2).add_(2).clamp_min_(COINCIDENT).sqrt_()
        away.scatter_(1, self._skipped[rows], torch.inf)
        if away.device.type == "cpu":  # numpy's sort of plain values is several times faster
            away.numpy().sort(axis=1)
        else:
            away = away.sort(1).values
        return away[:, : self._competitors]


def _bisect(table: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """Count the smaller numbers of a row: (M, N) rising, (...) rows, (...) values -> (...)."""
    low = torch.zeros_like(rows)
    high = torch.full_like(rows, table.shape[1])
    for _ in range(table.shape[1].bit_length()):
        middle = (low + high) // 2
        smaller = (table[rows, middle.clamp_max(table.shape[1] - 1)] < values) & (low < high)
        low, high = torch.where(smaller, middle + 1, low), torch.where(smaller, high, middle)
    return low
