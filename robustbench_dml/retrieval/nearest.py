"""Nearest and farthest gallery rows of some classes, by one scan in tiles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from robustbench_dml.retrieval.gallery import Gallery, Items, in_chunks
from robustbench_dml.retrieval.geometry import LAST_KEY
from robustbench_dml.retrieval.rank_hinge import TILE
from robustbench_dml.utils.precision import products_in


class ExtremeRows(NamedTuple):
    """(n, k) gallery rows, the most extreme first, and an (n, k) mask: false where the gallery has fewer."""

    rows: Tensor
    exists: Tensor


@dataclass(frozen=True, kw_only=True)
class RowKind:
    """A kind of rows to search for.

    Attributes:
        labels: (n,) a class for each embedding.
        same: search in that class, else in all others.
        farthest: search for the farthest rows instead of the nearest.
        without: (n,) a gallery row to leave out.
        k: number of rows.
    """

    labels: Tensor
    same: bool
    farthest: bool = False
    without: Tensor | None = None
    k: int = 1


@torch.no_grad()
@products_in("fp32")
def extreme_rows(embeddings: Tensor, gallery: Gallery, *wanted: RowKind) -> list[ExtremeRows]:
    """Return the nearest or farthest gallery rows of several kinds. The choice carries no gradient.

    Args:
        embeddings: (n, D) unit vectors.
        gallery: N unit vectors with classes.
        wanted: the kinds.
    """
    best = [(embeddings.new_empty(len(embeddings), 0), gallery.labels.new_empty(len(embeddings), 0)) for _ in wanted]
    for start in range(0, len(gallery), TILE):
        stop = min(start + TILE, len(gallery))
        similarity = embeddings @ gallery.embeddings[start:stop].T
        for number, want in enumerate(wanted):
            near = _nearness(similarity, want, gallery.labels[start:stop], start)
            values, columns = near.max(1, keepdim=True) if want.k == 1 else near.topk(min(want.k, stop - start), 1)
            values = torch.cat([best[number][0], values], 1)
            rows = torch.cat([best[number][1], columns + start], 1)
            values, order = values.topk(min(want.k, values.shape[1]), 1)
            best[number] = values, rows.gather(1, order)
    return [ExtremeRows(rows, values > -torch.inf) for values, rows in best]


def _nearness(similarity: Tensor, want: RowKind, labels: Tensor, start: int) -> Tensor:
    """(n, T) similarities of a tile -> (n, T), largest for the wanted rows, -inf for rows that do not count."""
    near = -similarity if want.farthest else similarity
    near = near.masked_fill((labels == want.labels[:, None]) != want.same, -torch.inf)
    if want.without is not None:
        left_out = want.without[:, None] - start
        inside = (left_out >= 0) & (left_out < near.shape[1])
        column = left_out.clamp(0, near.shape[1] - 1)
        near.scatter_(1, column, near.gather(1, column).masked_fill(inside, -torch.inf))
    return near


def nearest_wrong_classes(items: Items, k: int) -> Tensor:
    """(B, k) the nearest row of each of the k nearest wrong classes, nearest class first, ties by row.

    The last class is repeated where there are fewer than k.
    """
    gallery = items.gallery
    classes, numbers = gallery.labels.unique(return_inverse=True)
    find = partial(_nearest_of_classes, gallery, numbers, len(classes), k)
    return in_chunks(find, gallery.embeddings[items.rows], numbers[items.rows], width=2 * len(gallery))


def _nearest_of_classes(
    gallery: Gallery, numbers: Tensor, classes: int, k: int, embeddings: Tensor, own: Tensor
) -> Tensor:
    """(n, D) embeddings and the (n,) numbers of their classes -> (n, k) rows."""
    n = len(numbers)
    packed = gallery.keys(embeddings) * n + torch.arange(n, device=numbers.device)
    nearest = packed.new_full((len(packed), classes), LAST_KEY * n)
    nearest.scatter_reduce_(1, numbers.expand_as(packed), packed, "amin")
    nearest.scatter_(1, own[:, None], LAST_KEY * n)
    ordered = nearest.topk(min(k, classes), dim=1, largest=False, sorted=True).values
    last = (ordered < LAST_KEY * n).sum(1, keepdim=True).clamp_min(1) - 1
    columns = torch.arange(k, device=numbers.device).expand(len(ordered), k).minimum(last)
    return ordered.gather(1, columns) % n
