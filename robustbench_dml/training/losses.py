"""Hardness and the triplet loss."""

from __future__ import annotations

from torch import Tensor

from robustbench_dml.retrieval.geometry import distance
from robustbench_dml.training.metrics import log_value

MARGIN = 0.2  # gamma of the triplet loss


def hardness(anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Return the hardness d(a, p) - d(a, n) of triplets, in [-2, 2]: three times (..., D) -> (...).

    Zhou and Patel, CVPR 2022, arXiv:2203.01439.
    """
    return distance(anchor, positive) - distance(anchor, negative)


def triplet_loss(anchor: Tensor, positive: Tensor, negative: Tensor, *, margin: float) -> Tensor:
    """Return the mean over triplets of max(0, hardness + margin): three times (T, D) -> (). Margin 0 is allowed.

    The hardness is logged. Schroff et al., CVPR 2015, arXiv:1503.03832.
    """
    h = hardness(anchor, positive, negative)
    log_value("hardness", h)
    return (h + margin).relu().mean()
