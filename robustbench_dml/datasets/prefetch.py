"""Reading stored images before they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor

from robustbench_dml.datasets.base import Images, Split


class PrefetchedImages:
    """Images on disk, of which the next batch is read while the last one is worked on.

    Reading is the work of numpy and PIL, in a thread of its own: it takes none from the network.
    """

    def __init__(self, images: Images, *, pinned: bool) -> None:
        """
        Args:
            images: on disk.
            pinned: put what was read where a GPU can fetch it from by itself.
        """
        self._images, self._pinned = images, pinned
        self._thread = ThreadPoolExecutor(1)
        self._coming: tuple[Tensor, Future[Tensor]] | None = None

    @property
    def shape(self) -> Sequence[int]:
        """(N, C, H, W)."""
        return self._images.shape

    def prefetch(self, rows: Tensor) -> None:
        """Begin to read these (B,) rows; they should be asked for next."""
        rows = rows.cpu()
        self._coming = rows, self._thread.submit(self._read, rows)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """(B,) rows -> (B, C, H, W) uint8 on the CPU, whether they were expected or not."""
        coming, self._coming = self._coming, None
        if coming is not None and torch.equal(coming[0], rows.cpu()):
            return coming[1].result()
        return self._read(rows)

    def _read(self, rows: Tensor) -> Tensor:
        stored = self._images[rows]
        return stored.pin_memory() if self._pinned else stored


def with_prefetch(split: Split) -> Split:
    """The same split, which can be told what it will be asked for; images in memory need no reading."""
    if isinstance(split.images, Tensor | PrefetchedImages):
        return split
    return replace(split, images=PrefetchedImages(split.images, pinned=split.labels.device.type == "cuda"))


def prefetch(split: Split, rows: Tensor) -> None:
    """Say which (B,) rows of a split will be asked for next."""
    if isinstance(split.images, PrefetchedImages):
        split.images.prefetch(rows)
