"""Nearest and farthest gallery rows of some classes, by one matrix product."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_dml.retrieval.gallery import Gallery, Items, in_chunks
from robustbench_dml.retrieval.geometry import LAST_KEY
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

    def take(self, rows: Tensor) -> RowKind:
        """The kind for some of the embeddings."""
        return replace(self, labels=self.labels[rows], without=None if self.without is None else self.without[rows])


@torch.no_grad()
@products_in("fp32")
def extreme_rows(embeddings: Tensor, gallery: Gallery, *wanted: RowKind) -> list[ExtremeRows]:
    """Return the nearest or farthest gallery rows of several kinds. The choice carries no gradient.

    Args:
        embeddings: (n, D) unit vectors.
        gallery: N unit vectors with classes.
        wanted: the kinds.
    """

    def find(rows: Tensor) -> tuple[Tensor, ...]:
        similarity = embeddings[rows] @ gallery.embeddings.T
        found = [_extreme(similarity, want.take(rows), gallery) for want in wanted]
        return tuple(part for each in found for part in each)

    parts = in_chunks(find, torch.arange(len(embeddings), device=embeddings.device), width=len(gallery))
    return [ExtremeRows(*parts[place : place + 2]) for place in range(0, len(parts), 2)]


def _extreme(similarity: Tensor, want: RowKind, gallery: Gallery) -> ExtremeRows:
    """The rows of one kind, from the (n, N) similarities."""
    count, members = len(gallery), gallery.members_of(want.labels)
    if want.without is not None and want.same:
        members = members.masked_fill(members == want.without[:, None], count)
    if want.same:  # one more column, -inf, stands for the rows that do not count
        columns = members if members.shape[1] >= want.k else F.pad(members, (0, want.k - members.shape[1]), value=count)
        near = similarity.gather(1, columns.clamp_max(count - 1))
        near = near.neg_() if want.farthest else near
        near = near.masked_fill_(columns == count, -torch.inf)
    else:
        left_out = members if want.without is None else torch.cat([members, want.without[:, None]], 1)
        padded = similarity.new_empty(len(similarity), count + 1)  # the last column takes rows that do not exist
        near = padded[:, :count]
        _ = torch.neg(similarity, out=near) if want.farthest else near.copy_(similarity)
        padded.scatter_(1, left_out, -torch.inf)
    values, chosen = near.max(1, keepdim=True) if want.k == 1 else near.topk(min(want.k, near.shape[1]), 1)
    rows = columns.gather(1, chosen).clamp_max(count - 1) if want.same else chosen
    return ExtremeRows(rows, values > -torch.inf)


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
