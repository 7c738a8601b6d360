"""The gallery rows that decide an attacked query's first places, found by one scan in tiles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from robustbench_dml.retrieval.gallery import Gallery, Items, in_chunks
from robustbench_dml.retrieval.geometry import LAST_KEY
from robustbench_dml.retrieval.rank_hinge import TILE


class ExtremeRows(NamedTuple):
    """(n, k) gallery rows, the most extreme first, and (n, k) whether there were as many at all."""

    rows: Tensor
    exists: Tensor


@dataclass(frozen=True, kw_only=True)
class RowKind:
    """Which rows to find.

    Attributes:
        labels: (n,) a class for each embedding.
        same: rows of that class, else of all others.
        farthest: the farthest instead of the nearest.
        without: (n,) a gallery row that does not count.
        k: how many.
    """

    labels: Tensor
    same: bool
    farthest: bool = False
    without: Tensor | None = None
    k: int = 1


@torch.no_grad()
def extreme_rows(embeddings: Tensor, gallery: Gallery, *wanted: RowKind) -> list[ExtremeRows]:
    """The gallery rows nearest to (or farthest from) some embeddings, of several kinds in one scan.

    Choosing rows carries no gradient; the distance to what was chosen does.

    Args:
        embeddings: (n, D) unit vectors.
        gallery: N of them, with classes.
        wanted: the kinds.
    """
    best = [(embeddings.new_empty(len(embeddings), 0), gallery.labels.new_empty(len(embeddings), 0)) for _ in wanted]
    for start in range(0, len(gallery), TILE):
        stop = min(start + TILE, len(gallery))
        similarity = embeddings @ gallery.embeddings[start:stop].T
        for place, want in enumerate(wanted):
            near = _nearness(similarity, want, gallery.labels[start:stop], start)
            values, columns = near.max(1, keepdim=True) if want.k == 1 else near.topk(min(want.k, stop - start), 1)
            values = torch.cat([best[place][0], values], 1)
            rows = torch.cat([best[place][1], columns + start], 1)
            values, order = values.topk(min(want.k, values.shape[1]), 1)
            best[place] = values, rows.gather(1, order)
    return [ExtremeRows(rows, values > -torch.inf) for values, rows in best]


def _nearness(similarity: Tensor, want: RowKind, labels: Tensor, start: int) -> Tensor:
    """(n, T) similarities of a tile -> (n, T), largest for the wanted rows, -inf for those that do not count."""
    near = -similarity if want.farthest else similarity
    near = near.masked_fill((labels == want.labels[:, None]) != want.same, -torch.inf)
    if want.without is not None:
        place = want.without[:, None] - start
        inside = (place >= 0) & (place < near.shape[1])
        column = place.clamp(0, near.shape[1] - 1)
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
