"""Batches of pairs.

Batches are SPC-2 (two samples per class): every anchor comes with another image of its class. The published code draws
this partner from the whole class, the anchor included. Here the anchor is excluded.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.randomness import generator


@dataclass(frozen=True)
class Batch:
    """A batch of P pairs. Rows 0 to P-1 are anchors; row P+i is another image of anchor i's class.

    Attributes:
        images: (2P, C, H, W) float in [0, 1].
        labels: (2P,) class of each row.
        indices: (2P,) row of each image in its split. Two rows can hold the same image.
        rng: CPU generator of this iteration.
        progress: share of the budget spent before this iteration, in [0, 1].
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    rng: torch.Generator
    progress: float = 0.0

    @property
    def pairs(self) -> int:
        """P, the number of pairs."""
        return len(self.labels) // 2


class PairSampler:
    """Draws the pairs of every iteration from the seed and the number of the iteration alone.

    An epoch is a permutation of the anchors, cut into batches. Anchors that do not fill a batch are left out of the
    epoch. Partners are uniform over the other images of the anchor's class.
    """

    def __init__(self, labels: Tensor, *, pairs: int, seed: int) -> None:
        """
        Args:
            labels: (N,) classes of the training images.
            pairs: P, anchors per batch.
            seed: the run's seed.

        Raises:
            RbdmlError: fewer than P images have a partner, or all images are of one class.
        """
        labels = labels.cpu()
        self._by_class = torch.argsort(labels, stable=True)
        _, inverse, count = torch.unique(labels, return_inverse=True, return_counts=True)
        self._class_size = count[inverse]
        self._class_start = (count.cumsum(0) - count)[inverse]
        self._position = torch.empty_like(labels)
        self._position[self._by_class] = torch.arange(len(labels))
        self._anchors = torch.nonzero(self._class_size >= 2).squeeze(1)
        self.pairs, self._seed = pairs, seed
        if len(self._anchors) < pairs:
            raise RbdmlError(
                f"a batch needs {pairs} anchors and the data has {len(self._anchors)} images with a partner: "
                "use a smaller --pairs"
            )
        if len(count) < 2:
            raise RbdmlError("the training data has one class only: triplets need images of at least two")
        self._epoch = (-1, self._anchors)

    @property
    def iterations_per_epoch(self) -> int:
        """Number of batches in one pass over the anchors."""
        return len(self._anchors) // self.pairs

    def indices(self, iteration: int) -> Tensor:
        """Return the (2P,) rows of the split for this iteration: P anchors, then their partners."""
        epoch, number = divmod(iteration, self.iterations_per_epoch)
        if self._epoch[0] != epoch:
            order = torch.randperm(len(self._anchors), generator=generator(self._seed, "anchors", epoch))
            self._epoch = (epoch, self._anchors[order])
        anchors = self._epoch[1][number * self.pairs : (number + 1) * self.pairs]
        start, size = self._class_start[anchors], self._class_size[anchors]
        draw = torch.rand(len(anchors), generator=generator(self._seed, "partners", iteration), dtype=torch.float64)
        step = 1 + (draw * (size - 1)).long()
        partners = self._by_class[start + (self._position[anchors] - start + step) % size]
        return torch.cat([anchors, partners])
