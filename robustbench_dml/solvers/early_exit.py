"""Groups that leave a batch when they are finished, without making a GPU wait to know how many."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

PARTS = 8  # of a batch: on a GPU it shrinks by an eighth of itself at once, so there are as many shapes at most


class ActiveGroups:
    """Says which groups of a batch go on.

    On the CPU the unfinished ones do, at once. On a GPU the number of them is needed by the host, which would have to
    wait for the device to be idle; so what is asked at one step is read at the next, when the device has more to do
    already. Until then, and until they fill an eighth of the batch, finished groups stay and do not move.
    """

    def __init__(self, groups: int, device: torch.device) -> None:
        """
        Args:
            groups: of the whole batch.
            device: where it is.
        """
        self._late = device.type == "cuda"
        self._least = math.ceil(groups / PARTS) if self._late else 1
        self._asked: Callable[[], int] | None = None

    def staying(self, done: Tensor) -> Tensor | None:
        """Which groups go on, unfinished ones first and each kind in order: (n,) bool -> (m,) places.

        None where all do; none of them where the work is over.
        """
        asked = _count(~done)
        if self._late:
            asked, self._asked = self._asked or (lambda: len(done)), asked
        left = asked()
        room = min(len(done), math.ceil(left / self._least) * self._least)
        if room == len(done):
            return None
        return done.byte().argsort(stable=True)[:room]


def _count(flags: Tensor) -> Callable[[], int]:
    """Ask for a number of flags; calling the answer waits until it is known, and for nothing that was asked later."""
    if flags.device.type != "cuda":
        return lambda: int(flags.sum())
    number = torch.empty((), dtype=torch.int64, pin_memory=True)
    number.copy_(flags.sum(), non_blocking=True)
    known = torch.cuda.Event()
    known.record()

    def read() -> int:
        known.synchronize()
        return int(number)

    return read
