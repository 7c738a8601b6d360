"""Exact ranks of a few items in the lists of many queries, without sorting a list.

An item's rank is the number of gallery rows before it. For most rows, float32 products decide. The few rows within
rounding of the item are compared by `order_keys`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_dml.retrieval.geometry import order_keys, order_keys_rowwise
from robustbench_dml.utils.precision import products_in

QUERIES = 512  # queries at once
TILE = 1024  # gallery rows at once: a tile of products stays in the processor's cache
PAIRS = 512  # exact comparisons at once, for the same reason
CROWDED = 1 / 64  # share of a tile above which comparing the whole tile is cheaper than comparing pairs
ROUNDING = 2.0**-24  # relative rounding of float32
LANES = 0x0101010101010101  # the lowest bit of each byte of a word


def exact_ranks(embeddings: Tensor, queries: Tensor, items: Tensor) -> Tensor:
    """Return the ranks of items in the lists of queries, nearest first, equal keys by row.

    Args:
        embeddings: (N, D) unit vectors, float32 or float64: the gallery, which contains the queries.
        queries: (Q,) rows. A query is not in its own list.
        items: (Q, R) rows of other images, padded with the query itself.

    Returns:
        (Q, R) number of rows before each item; -1 for padding.
    """
    coarse = embeddings.float()
    lengths = torch.linalg.vector_norm(coarse, dim=1)
    if float((lengths - 1).abs().max()) > 1e-6:
        coarse, lengths = F.normalize(coarse, dim=1), torch.ones_like(lengths)
    # Error of a sum of D products of unit vectors, in any order, and of the rounded vectors: Higham, Accuracy and
    # Stability of Numerical Algorithms, 2002, section 3.1. 2% more, since the compared values are rounded, too.
    uncertain = 1.02 * ((embeddings.shape[1] + 4) * ROUNDING + 4 * float((lengths - 1).abs().max()))
    ranks = torch.full_like(items, -1)
    with products_in("fp32"):
        for rows, wanted, ranked in zip(*(each.split(QUERIES) for each in (queries, items, ranks)), strict=True):
            used = (wanted != rows[:, None]).any(0)  # small classes leave columns of padding
            if bool(used.any()):
                ranked[:, used] = _block_ranks(embeddings, coarse, rows, wanted[:, used], uncertain)
    return ranks


def _block_ranks(embeddings: Tensor, coarse: Tensor, rows: Tensor, items: Tensor, uncertain: float) -> Tensor:
    absent = items == rows[:, None]
    keys = torch.stack(
        [order_keys_rowwise(embeddings[rows], embeddings[one]) for one in items.unbind(1)], dim=1
    )  # (b, R)
    similarity = 1 - keys * 2.0**-29
    # In units of the uncertainty, and 2 too small: from 3 on a row is certainly nearer, below 1 certainly farther.
    level = (similarity / uncertain - 2).masked_fill(absent, torch.inf).to(coarse.dtype).T.unsqueeze(2).contiguous()
    scaled = coarse[rows] / uncertain
    before = torch.zeros_like(items)
    scratch = _Scratch(len(rows), coarse.device)
    for start in range(0, len(coarse), TILE):
        tile = coarse[start : start + TILE]
        scratch.multiply(scaled, tile, rows - start)
        near = []
        for number, item_level in enumerate(level):
            nearer, close = scratch.compare(item_level)
            before[:, number] += nearer
            near.append(F.pad(close, (0, 1), value=number))  # (m, 3): query, row of the tile, item
        query, column, item = torch.cat(near).unbind(1)
        other = _keys(embeddings, rows, query, column, start, len(tile))
        own, row = keys[query, item], items[query, item]
        counted = (other < own) | ((other == own) & (column + start < row))
        before.view(-1).index_add_(0, query * items.shape[1] + item, counted.long())
    return before.masked_fill_(absent, -1)


def _keys(embeddings: Tensor, rows: Tensor, query: Tensor, column: Tensor, start: int, width: int) -> Tensor:
    """(m,) exact keys of pairs: a query among `rows`, and a column of a tile."""
    if len(query) > CROWDED * len(rows) * width:  # nearly equal embeddings of a collapsed model
        return order_keys(embeddings[rows], embeddings[start : start + width])[query, column]
    pairs = zip(rows[query].split(PAIRS), (column + start).split(PAIRS), strict=True)
    keys = [order_keys_rowwise(embeddings[one], embeddings[other]) for one, other in pairs]
    return torch.cat(keys) if keys else column


class _Scratch:
    """Memory for the products of a tile, reused by the next one."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self._products = torch.empty(rows, TILE, device=device)
        self._gaps = torch.empty_like(self._products)
        self._kinds = torch.empty(rows, TILE, dtype=torch.int8, device=device)

    def multiply(self, queries: Tensor, tile: Tensor, own: Tensor) -> None:
        """Multiply (b, D) queries with the (t, D) rows of a tile. Row `own` (b,) of the tile never counts."""
        width = len(tile)
        if width == TILE:
            torch.mm(queries, tile.T, out=self._products)
        else:
            self._products[:, width:] = -torch.inf
            self._products[:, :width] = queries @ tile.T
        inside = torch.nonzero((own >= 0) & (own < width)).squeeze(1)
        self._products[inside, own[inside]] = -torch.inf

    def compare(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Compare each query's products with its (b, 1) level.

        Returns:
            (b,) number certainly above the level, and (m, 2) query and column of the uncertain ones.
        """
        torch.sub(self._products, level, out=self._gaps)
        self._kinds.copy_(self._gaps.clamp_(0, 3))  # 3: certainly nearer, 1 and 2: uncertain, 0: certainly farther
        words = self._kinds.view(torch.int64)  # eight kinds at once
        halves = words >> 1
        nearer = (words & halves).bitwise_and_(LANES).sum(1).view(torch.uint8).view(len(level), 8).sum(1)
        unknown = (words ^ halves).bitwise_and_(LANES)
        rows, word = unknown.nonzero().unbind(1)
        which, lane = unknown[rows, word].view(torch.uint8).view(-1, 8).nonzero().unbind(1)
        return nearer, torch.stack([rows[which], word[which] * 8 + lane], dim=1)
