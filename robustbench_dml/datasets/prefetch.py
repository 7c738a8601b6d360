"""Reading of the next batch during the work on the current one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor

from robustbench_dml.datasets.base import Images, Split


class PrefetchedImages:
    """Images on disk whose next batch is read in a thread, by numpy and PIL."""

    def __init__(self, images: Images, *, pinned: bool) -> None:
        self._images = images
        self._pinned = pinned  # read into pinned memory, for a GPU
        self._thread = ThreadPoolExecutor(1)
        self._coming: tuple[Tensor, Future[Tensor]] | None = None

    @property
    def shape(self) -> Sequence[int]:
        """(N, C, H, W)."""
        return self._images.shape

    def prefetch(self, rows: Tensor) -> None:
        """Start to read these (B,) rows, which should be requested next."""
        rows = rows.cpu()
        self._coming = rows, self._thread.submit(self._read, rows)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Return rows, prefetched or not: (B,) -> (B, C, H, W) uint8 on the CPU."""
        coming, self._coming = self._coming, None
        if coming is not None and torch.equal(coming[0], rows.cpu()):
            return coming[1].result()
        return self._read(rows)

    def _read(self, rows: Tensor) -> Tensor:
        stored = self._images[rows]
        return stored.pin_memory() if self._pinned else stored


def with_prefetch(split: Split) -> Split:
    """Return a split whose rows can be prefetched. A split in memory is returned unchanged."""
    if isinstance(split.images, Tensor | PrefetchedImages):
        return split
    return replace(split, images=PrefetchedImages(split.images, pinned=split.labels.device.type == "cuda"))


def prefetch(split: Split, rows: Tensor) -> None:
    """Start to read the (B,) rows of a split that will be requested next."""
    if isinstance(split.images, PrefetchedImages):
        split.images.prefetch(rows)
