"""Images that an attacked image can be moved towards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

MOST = 16  # guides of an image


@dataclass(frozen=True)
class Guides:
    """Images to move towards.

    Attributes:
        rows: (B, K) rows of a split for each attacked image, the nearest first.
        read: (n,) rows to their (n, C, H, W) images.
    """

    rows: Tensor
    read: Callable[[Tensor], Tensor]

    def __len__(self) -> int:
        return self.rows.shape[1]

    def __getitem__(self, number: int) -> Tensor:
        """(B, C, H, W) guide of this number of every image."""
        return self.read(self.rows[:, number])

    def take(self, rows: Tensor) -> Guides:
        """The guides of the images in the (n,) rows."""
        return Guides(self.rows[rows], self.read)
