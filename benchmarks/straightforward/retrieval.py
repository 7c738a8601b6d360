"""Retrieval metrics one query after another, each from its whole list in order."""

from __future__ import annotations

import torch
from torch import Tensor


def scores(embeddings: Tensor, labels: Tensor, query: int) -> tuple[float, float, float, float]:
    """R@1, R@2, AP and AP@R of one query."""
    distance = torch.cdist(embeddings[query][None], embeddings)[0]
    distance[query] = -1
    order = distance.argsort()[1:]
    right = labels[order] == labels[query]
    found = torch.nonzero(right).squeeze(1)
    precision = torch.arange(1, len(found) + 1, device=found.device) / (found + 1)
    within = found < len(found)
    return (
        float(right[0]),
        float(right[:2].any()),
        float(precision.mean()),
        float(precision[within].sum() / len(found)),
    )
