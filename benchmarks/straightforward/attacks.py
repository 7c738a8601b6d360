"""A simple attack suite: a loop over queries for every objective in every step.

`benchmarks/parts/attacks.py` compares its time and its results. It shares only the choice of targets with the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Query:
    """One attacked image: its row, its target's row (-1: none), the gallery and its classes."""

    row: int
    target: int
    gallery: Tensor
    labels: Tensor

    def others(self) -> Tensor:
        """Return the rows that compete with the target."""
        keep = torch.ones(len(self.gallery), dtype=torch.bool)
        keep[self.row] = False
        if self.target >= 0:
            keep[self.target] = False
        return keep

    def distances(self, embedding: Tensor) -> Tensor:
        """Return the (N,) distances from an embedding to the gallery."""
        return torch.cdist(embedding[None], self.gallery)[0]


def candidate(query: Query, moved: Tensor, sign: int) -> Tensor:
    """CA: the attacked image is a candidate in its target's list."""
    of = query.gallery[query.target]
    gaps = sign * ((of - moved).norm() - query.distances(of)[query.others()])
    return gaps.clamp_min(0).mean()


def query_side(query: Query, moved: Tensor, sign: int) -> Tensor:
    """QA and GTT: the attacked image is the query."""
    gaps = sign * ((moved - query.gallery[query.target]).norm() - query.distances(moved)[query.others()])
    return gaps.clamp_min(0).mean()


def misrank(query: Query, moved: Tensor) -> Tensor:
    """LTM."""
    distance, same = query.distances(moved), query.labels == query.labels[query.row]
    right = same.clone()
    right[query.row] = False
    return (distance[~same].max() - distance[right].min()).clamp_min(0)


def shifted(query: Query, moved: Tensor) -> Tensor:
    """ES: away from its own embedding, with the tiny offset of the first step."""
    difference = moved - query.gallery[query.row]
    if difference.norm() < 1e-4:
        difference = difference + 1e-4 / len(moved) ** 0.5
    return -difference.norm()


OBJECTIVES: dict[str, Callable[[Query, Tensor], Tensor]] = {
    "ca+": lambda query, moved: candidate(query, moved, 1),
    "ca-": lambda query, moved: candidate(query, moved, -1),
    "qa+": lambda query, moved: query_side(query, moved, 1),
    "qa-": lambda query, moved: query_side(query, moved, -1),
    "tma": lambda query, moved: 1 - moved @ query.gallery[query.target],
    "es": shifted,
    "ltm": misrank,
    "gtm": lambda query, moved: (moved - query.gallery[query.target]).norm(),
    "gtt": lambda query, moved: query_side(query, moved, -1),
}


def percentile(item: Tensor, others: Tensor) -> float:
    """Return the share of the others that rank before an item."""
    return float((others < item).double().mean())


def recall(query: Query, moved: Tensor) -> float:
    """Return 1 if the nearest row is of the query's class, else 0."""
    distance = query.distances(moved)
    distance[query.row] = torch.inf
    return float(query.labels[distance.argmin()] == query.labels[query.row])


def scores(name: str, query: Query, moved: Tensor) -> dict[str, float]:
    """The columns of one attacked image."""
    if name in ("ca+", "ca-"):
        of = query.gallery[query.target]
        return {name.upper(): percentile((of - moved).norm(), query.distances(of)[query.others()])}
    if name in ("qa+", "qa-"):
        distance = query.distances(moved)
        return {name.upper(): percentile(distance[query.target], distance[query.others()])}
    if name == "tma":
        return {"TMA": float(moved @ query.gallery[query.target])}
    if name == "es":
        return {"ES:D": float((moved - query.gallery[query.row]).norm()), "ES:R": recall(query, moved)}
    if name == "gtt":
        distance = query.distances(moved)
        return {"GTT": float((distance[query.others()] < distance[query.target]).sum() < 4)}
    return {name.upper(): recall(query, moved)}


def attack(
    model: nn.Module, images: Tensor, queries: list[Query], name: str, *, eps: float, alpha: float, steps: int
) -> dict[str, list[float]]:
    """PGD on a batch of images as a training loop would write it, then the columns of every query."""
    moved = images.clone()
    for _ in range(steps):
        moved.requires_grad_()
        embeddings = model(moved)
        loss = torch.stack([OBJECTIVES[name](*pair) for pair in zip(queries, embeddings, strict=True)]).sum()
        model.zero_grad()
        loss.backward()
        assert moved.grad is not None
        with torch.no_grad():
            moved = moved - alpha * moved.grad.sign()
            moved = torch.min(torch.max(moved, images - eps), images + eps).clamp(0, 1)
    with torch.no_grad():
        embeddings = model(moved)
        found = [scores(name, *pair) for pair in zip(queries, embeddings, strict=True)]
    return {column: [each[column] for each in found] for column in found[0]}
