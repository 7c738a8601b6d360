"""Intra-Class Structure: keep the perturbed anchor nearer to the anchor than the positive is.

Zhou and Patel, CVPR 2022, arXiv:2203.01439.
"""

from __future__ import annotations

from torch import Tensor

from robustbench_dml import triplet_loss


def intra_class_structure(anchor: Tensor, perturbed_anchor: Tensor, positive: Tensor, *, margin: float = 0.0) -> Tensor:
    """Return the triplet loss of (a, a~, p): three times (T, D) -> (). The published margin is 0.

    Anchor and positive are benign and carry gradient.
    """
    return triplet_loss(anchor, perturbed_anchor, positive, margin=margin)
