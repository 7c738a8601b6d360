"""Early exit of finished groups from a batch, without waiting for a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

PARTS = 8  # on a GPU a batch shrinks by eighths of its first size, so that there are at most 8 shapes


class ActiveGroups:
    """Chooses the groups of a batch that continue.

    On the CPU finished groups leave at once. On a GPU the host would have to wait for the number of unfinished groups,
    so it reads the number one step later, when the device is busy again. Finished groups stay, without moving, until
    then and until they fill an eighth of the batch.
    """

    def __init__(self, groups: int, device: torch.device) -> None:
        """
        Args:
            groups: number of groups in the whole batch.
            device: device of the batch.
        """
        self._delayed = device.type == "cuda"
        self._least = math.ceil(groups / PARTS) if self._delayed else 1
        self._pending: Callable[[], int] | None = None

    def staying(self, done: Tensor) -> Tensor | None:
        """Map (n,) bool to the (m,) indices of the groups that continue, unfinished groups first.

        None means that all continue. An empty result means that all are finished.
        """
        unfinished = _count(~done)
        if self._delayed:
            unfinished, self._pending = self._pending or (lambda: len(done)), unfinished
        staying = min(len(done), math.ceil(unfinished() / self._least) * self._least)
        if staying == len(done):
            return None
        return done.byte().argsort(stable=True)[:staying]


def _count(flags: Tensor) -> Callable[[], int]:
    """Start counting flags. Calling the result waits for this count only, not for later work on the device."""
    if flags.device.type != "cuda":
        return lambda: int(flags.sum())
    number = torch.empty((), dtype=torch.int64, pin_memory=True)
    number.copy_(flags.sum(), non_blocking=True)
    counted = torch.cuda.Event()
    counted.record(torch.cuda.current_stream(flags.device))

    def read() -> int:
        counted.synchronize()
        return int(number)

    return read
