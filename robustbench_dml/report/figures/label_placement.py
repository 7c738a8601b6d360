"""Positions of labels, such that none hides another, a marker or a line. The same points give the same positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

DIRECTIONS = tuple((np.cos(turn), np.sin(turn)) for turn in np.arange(16) * np.pi / 8)
DISTANCES = (6.0, 11.0, 18.0, 28.0, 40.0)  # tried distances from the point to the label, in points
ROUNDS = 4
FAR = 0.6  # cost of a point of distance, in square points of hidden ink
CLEAR = 14.0  # distance in points below which a label may be read for another label's point

Box = tuple[float, float, float, float]  # left, bottom, right, top


@dataclass(frozen=True)
class Placed:
    """The position of a label.

    Attributes:
        box: the box around the text, in points.
        point: (x, y) of the labelled point.
        hidden: square points of labels and obstacles that the label covers.
    """

    box: Box
    point: tuple[float, float]
    hidden: float


def place(
    points: Sequence[Sequence[tuple[float, float]]],
    sizes: Sequence[tuple[float, float]],
    obstacles: np.ndarray,
    bounds: Box,
) -> list[Placed]:
    """Put each label near one of its points, where it covers least and stays clear of the points of other labels.

    In turns, each label takes its cheapest candidate given the others, until none moves. Force-directed placement
    (adjustText) and greedy placement (textalloc) put names over lines or beside another defense's marker.

    Args:
        points: the points of each label, at least one; the label may stand at any of its points.
        sizes: width and height of each label.
        obstacles: (N, 4) boxes to keep free: left, bottom, right, top.
        bounds: labels stay inside; a label that does not fit goes to the lower left corner.
    """
    candidates = [_candidates(anchors, size, bounds) for anchors, size in zip(points, sizes, strict=True)]
    ink = [_overlaps(boxes, obstacles).sum(1) for boxes, _, _ in candidates]
    near = [_nearness(boxes, anchors, points) for (boxes, _, _), anchors in zip(candidates, points, strict=True)]
    costs = [cost + FAR * (far + more) for cost, (_, _, far), more in zip(ink, candidates, near, strict=True)]
    chosen = [int(np.argmin(cost)) for cost in costs]
    covered = [0.0] * len(chosen)
    for _ in range(ROUNDS):
        before = list(chosen)
        for label, (boxes, _, _) in enumerate(candidates):
            others = [candidates[other][0][chosen[other]] for other in range(len(chosen)) if other != label]
            hidden = 4 * _overlaps(boxes, np.reshape(others, (-1, 4))).sum(1)  # a hidden label is worse than a mark
            chosen[label] = int(np.argmin(costs[label] + hidden))
            covered[label] = float(ink[label][chosen[label]] + hidden[chosen[label]])
        if chosen == before:
            break
    return [
        Placed(tuple(boxes[i].tolist()), tuple(anchors[i].tolist()), hidden)
        for (boxes, anchors, _), i, hidden in zip(candidates, chosen, covered, strict=True)
    ]


def _candidates(
    points: Sequence[tuple[float, float]], size: tuple[float, float], bounds: Box
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(K, 4) boxes within the bounds, (K, 2) their points, and (K,) distances."""
    (width, height), (left, bottom, right, top) = size, bounds
    boxes, anchors, far = [], [], []
    for (x, y), (across, up), distance in product(points, DIRECTIONS, DISTANCES):
        # The box touches the ray from the point with the side or corner that is towards the point.
        x0 = x + distance * across + width * (across - 1) / 2
        y0 = y + distance * up + height * (up - 1) / 2
        if left <= x0 and x0 + width <= right and bottom <= y0 and y0 + height <= top:
            boxes.append((x0, y0, x0 + width, y0 + height))
            anchors.append((x, y))
            far.append(distance)
    if not boxes:
        boxes, anchors, far = [(left, bottom, left + width, bottom + height)], [points[0]], [0.0]
    return np.asarray(boxes), np.asarray(anchors), np.asarray(far)


def _nearness(
    boxes: np.ndarray, anchors: Sequence[tuple[float, float]], points: Sequence[Sequence[tuple[float, float]]]
) -> np.ndarray:
    """(K,) points by which each of (K, 4) boxes is nearer than `CLEAR` to a point of another label."""
    foreign = sorted({point for others in points for point in others} - set(anchors))
    positions = np.reshape(foreign, (1, -1, 2))
    outside = np.maximum(boxes[:, None, :2] - positions, positions - boxes[:, None, 2:]).clip(min=0)
    return (CLEAR - np.linalg.norm(outside, axis=-1)).clip(min=0).max(1, initial=0)


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(K, N) areas that (K, 4) boxes share with (N, 4) others."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(-1)
