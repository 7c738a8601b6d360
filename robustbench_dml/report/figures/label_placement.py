"""Where labels go so that none hides another, a marker or a line. The same points always give the same places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import matplotlib as mpl
import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

DIRECTIONS = tuple((np.cos(turn), np.sin(turn)) for turn in np.arange(16) * np.pi / 8)
DISTANCES = (6.0, 11.0, 18.0, 28.0, 40.0)  # from the point to the label, in points
ROUNDS = 4
FAR = 0.6  # what a point of distance costs, in square points of hidden ink
CLEAR = 14.0  # points from a label within which the point of another one may be taken for its own


def text_size(text: str, size: float, *, typeset: bool = False) -> tuple[float, float]:
    """Width and height of a line in the font in use, in points; the height is that of any line.

    Args:
        text: one line.
        size: of the font, in points.
        typeset: whether it has subscripts between dollar signs.
    """
    return _width(text, size, typeset, tuple(mpl.rcParams["font.family"])), 1.2 * size


@lru_cache(maxsize=4096)
def _width(text: str, size: float, typeset: bool, family: tuple[str, ...]) -> float:
    font = FontProperties(family=list(family), size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=typeset and "$" in text)
    return float(width)


def wrap(text: str, width: float, size: float) -> list[str]:
    """A text in lines of at most this width in points, broken at spaces; a longer word has a line of its own."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_size(longer, size)[0] > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places on a line as near as can be to the wanted ones (least squares), a gap apart, and in their order.

    Args:
        wanted: any order.
        gap: between neighbours; less where there is no room for all.
        low: least place.
        high: greatest.
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    # Without the gaps what is left is to be a rising line: pool neighbours that are not (isotonic regression).
    pools: list[tuple[float, int]] = []
    for value in np.asarray(wanted, dtype=float)[order] - steps:
        pools.append((float(value), 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (one, many), (other, more) = pools[-2:]
            pools[-2:] = [((one * many + other * more) / (many + more), many + more)]
    rising = np.repeat([value for value, _ in pools], [count for _, count in pools])
    found = np.empty(len(wanted))
    found[order] = np.clip(rising, low, high - steps[-1]) + steps
    return [float(place) for place in found]


@dataclass(frozen=True)
class Placed:
    """Where a label went.

    Attributes:
        box: left, bottom, right and top of the text, in points.
        point: (x, y) of the point that it is for.
        hidden: square points of labels and obstacles that it covers.
    """

    box: tuple[float, float, float, float]
    point: tuple[float, float]
    hidden: float


def place(
    points: Sequence[Sequence[tuple[float, float]]],
    sizes: Sequence[tuple[float, float]],
    obstacles: np.ndarray,
    bounds: tuple[float, float, float, float],
) -> list[Placed]:
    """Put each label beside one of its points, inside the bounds, where it covers least and is near.

    It keeps away from the points of other labels, too, for which it might be read. Each label takes the best of its
    candidates given where the others are, in turns until none moves.

    Args:
        points: of each label, at least one; any of them will do.
        sizes: width and height of each label.
        obstacles: (N, 4) boxes that had better not be covered: left, bottom, right, top.
        bounds: the box that labels stay in; a label that does not fit into it is put in its lower left corner.
    """
    candidates = [_candidates(own, size, bounds) for own, size in zip(points, sizes, strict=True)]
    ink = [_overlaps(boxes, obstacles).sum(1) for boxes, _, _ in candidates]
    near = [_taken_for(boxes, own, points) for (boxes, _, _), own in zip(candidates, points, strict=True)]
    costs = [one + FAR * (far + more) for one, (_, _, far), more in zip(ink, candidates, near, strict=True)]
    chosen = [int(np.argmin(cost)) for cost in costs]
    covered = [0.0] * len(chosen)
    for _ in range(ROUNDS):
        before = list(chosen)
        for label, (boxes, _, _) in enumerate(candidates):
            others = [candidates[other][0][chosen[other]] for other in range(len(chosen)) if other != label]
            hidden = 4 * _overlaps(boxes, np.reshape(others, (-1, 4))).sum(1)  # two labels are worse than a mark
            chosen[label] = int(np.argmin(costs[label] + hidden))
            covered[label] = float(ink[label][chosen[label]] + hidden[chosen[label]])
        if chosen == before:
            break
    return [
        Placed(tuple(boxes[i].tolist()), tuple(own[i].tolist()), hidden)
        for (boxes, own, _), i, hidden in zip(candidates, chosen, covered, strict=True)
    ]


def _candidates(
    points: Sequence[tuple[float, float]], size: tuple[float, float], bounds: tuple[float, float, float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(K, 4) boxes within the bounds, (K, 2) the points that they are for, and (K,) how far they are."""
    (width, height), (left, bottom, right, top) = size, bounds
    boxes, owners, far = [], [], []
    for (x, y), (across, up), distance in product(points, DIRECTIONS, DISTANCES):
        # The box touches the ray from the point with the side or corner that is towards the point.
        x0 = x + distance * across + width * (across - 1) / 2
        y0 = y + distance * up + height * (up - 1) / 2
        if left <= x0 and x0 + width <= right and bottom <= y0 and y0 + height <= top:
            boxes.append((x0, y0, x0 + width, y0 + height))
            owners.append((x, y))
            far.append(distance)
    if not boxes:
        boxes, owners, far = [(left, bottom, left + width, bottom + height)], [points[0]], [0.0]
    return np.asarray(boxes), np.asarray(owners), np.asarray(far)


def _taken_for(
    boxes: np.ndarray, own: Sequence[tuple[float, float]], points: Sequence[Sequence[tuple[float, float]]]
) -> np.ndarray:
    """(K,) by how much each of (K, 4) boxes is nearer than `CLEAR` to a point that is not its own, in points."""
    foreign = sorted({point for others in points for point in others} - set(own))
    places = np.reshape(foreign, (1, -1, 2))
    outside = np.maximum(boxes[:, None, :2] - places, places - boxes[:, None, 2:]).clip(min=0)
    return (CLEAR - np.linalg.norm(outside, axis=-1)).clip(min=0).max(1, initial=0)


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(K, N) areas that (K, 4) boxes share with (N, 4) others."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(-1)
