"""One training iteration of a defense, as in published code.

PGD calls `loss.backward()`, so every step computes the gradients of the weights, too; every triplet takes every step;
mining looks at one anchor after another. It shares nothing with the package; given the same triplets it comes to the
same weights (`tests/benchmarks/test_straightforward.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

GAMMA = 0.2


@dataclass
class Settings:
    """Settings of the adversary."""

    eps: float
    alpha: float
    eta: int


def hardness(anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """d(a, p) - d(a, n)."""
    return (anchor - positive).norm(dim=1) - (anchor - negative).norm(dim=1)


def triplet_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Mean of max(0, hardness + margin)."""
    return (hardness(anchor, positive, negative) + margin).clamp_min(0).mean()


def random_triplets(labels: Tensor) -> Tensor:
    """(P, 3) rows: each pair, and any row of another class."""
    pairs = len(labels) // 2
    rows = []
    for anchor in range(pairs):
        others = torch.nonzero(labels != labels[anchor]).squeeze(1)
        rows.append([anchor, anchor + pairs, int(others[torch.randint(len(others), (1,))])])
    return torch.tensor(rows, device=labels.device)


def softhard_triplets(labels: Tensor, embeddings: Tensor) -> Tensor:
    """(P, 3) rows: softhard positives and negatives, one anchor after another."""
    rows = []
    for anchor in range(len(labels) // 2):
        distance = (embeddings - embeddings[anchor]).norm(dim=1)
        same, other = labels == labels[anchor], labels != labels[anchor]
        same[anchor] = False
        near = torch.nonzero(other & (distance < distance[same].max())).squeeze(1)
        far = torch.nonzero(same & (distance > distance[other].min())).squeeze(1)
        near = near if len(near) else torch.nonzero(other).squeeze(1)
        far = far if len(far) else torch.nonzero(same).squeeze(1)
        rows.append(
            [anchor, int(far[torch.randint(len(far), (1,))]), int(near[torch.randint(len(near), (1,))])],
        )
    return torch.tensor(rows, device=labels.device)


def attacked(model: nn.Module, images: list[Tensor], value: object, settings: Settings) -> list[Tensor]:
    """PGD on several batches of images at once, which lowers a value of their embeddings."""
    benign = torch.cat(images)
    moved = benign.clone()
    for _ in range(settings.eta):
        moved.requires_grad_()
        loss = value(*model(moved).chunk(len(images)))  # type: ignore[operator]
        model.zero_grad()
        loss.backward()
        assert moved.grad is not None
        with torch.no_grad():
            moved = moved - settings.alpha * moved.grad.sign()
            moved = torch.min(torch.max(moved, benign - settings.eps), benign + settings.eps).clamp(0, 1)
    return list(moved.chunk(len(images)))


def regular(model: nn.Module, images: Tensor, triplets: Tensor) -> Tensor:
    """The loss of benign triplets."""
    return triplet_loss(*model(images)[triplets].unbind(1), GAMMA)


def act(model: nn.Module, images: Tensor, triplets: Tensor, settings: Settings) -> Tensor:
    """The loss of ACT."""
    model.eval()
    anchor, positive, negative = (images[rows] for rows in triplets.unbind(1))
    moved = attacked(model, [positive, negative], lambda p, n: (p - n).norm(dim=1).sum(), settings)
    model.train()
    return triplet_loss(model(anchor), *(model(each) for each in moved), GAMMA)


def hm_ics(
    model: nn.Module,
    images: Tensor,
    triplets: Tensor,
    settings: Settings,
    *,
    destination: float,
    weight: float,
) -> Tensor:
    """The loss of HM with a destination hardness, and of intra-class structure."""
    model.eval()
    benign = [images[rows] for rows in triplets.unbind(1)]

    def gap(anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return (destination - hardness(anchor, positive, negative)).clamp_min(0).square().sum()

    moved = attacked(model, benign, gap, settings)
    model.train()
    embedded = [model(each) for each in moved]
    structure = triplet_loss(model(benign[0]), embedded[0], model(benign[1]), 0.0)
    return triplet_loss(*embedded, GAMMA) + weight * structure
