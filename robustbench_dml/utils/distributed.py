"""The processes that share a run, and what they tell each other. One process alone is a team, too, and silent.

Each process works out everything that is cheap by itself, from the same numbers: so little needs to be told.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")

PATIENCE = datetime.timedelta(days=1)  # one process may prepare data or write while the others wait
ROUNDING = 1e-4  # relative; losses of the same images differ by less


def world_size() -> int:
    """How many processes share this run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def is_leader() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


@contextmanager
def process_group(rendezvous: Path, *, number: int, processes: int, device: torch.device) -> Iterator[None]:
    """Meet the others, and part from them at the end.

    Args:
        rendezvous: a file that does not exist, the same one for all.
        number: of this process.
        processes: how many there are.
        device: of this process.
    """
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{rendezvous}",
        rank=number,
        world_size=processes,
        timeout=PATIENCE,
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def is_lost_peer(error: RuntimeError) -> bool:
    """Whether this is what an exchange raises when another process has ended."""
    return isinstance(error, dist.DistError) or "Connection" in str(error) or "gloo" in str(error)


def broadcast(value: T | None = None) -> T:
    """What the leading process brought, for all."""
    told: list[Any] = [value]
    if world_size() > 1:
        dist.broadcast_object_list(told, src=0)
    return told[0]


def merge(found: dict[Any, T]) -> dict[Any, T]:
    """What all processes found, where no two found the same."""
    if world_size() == 1:
        return found
    everyone: list[dict[Any, T]] = [{} for _ in range(world_size())]
    dist.all_gather_object(everyone, found)
    return {key: value for one in everyone for key, value in one.items()}


def check_on_all(check: Callable[[], object]) -> None:
    """Interrupt all processes at the same place where one of them is to be: `check` raises KeyboardInterrupt."""
    interrupted = False
    try:
        check()
    except KeyboardInterrupt:
        interrupted = True
    if bool(gather_values(float(interrupted)).any()):
        raise KeyboardInterrupt


def gather_values(*values: float) -> torch.Tensor:
    """(processes, values) float64: what each process brought."""
    own = torch.tensor(values, dtype=torch.float64)
    if world_size() == 1:
        return own[None]
    everyone = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(everyone, own)
    return torch.stack(everyone)


def share_bounds(rows: int) -> list[int]:
    """Where the shares of the processes begin, and the end: as even as can be, for instance 7 rows -> [0, 4, 7]."""
    even, more = divmod(rows, world_size())
    return [number * even + min(number, more) for number in range(world_size() + 1)]


def gather_rows(own: torch.Tensor, bounds: list[int]) -> torch.Tensor:
    """The rows of all processes in their order: (own rows, ...) -> (all rows, ...); `bounds` as from `cut`."""
    counts = [end - start for start, end in itertools.pairwise(bounds)]
    padded = own.new_zeros(max(counts), *own.shape[1:])  # what is exchanged has to be of one size
    padded[: len(own)] = own
    everyone = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(everyone, padded)
    return torch.cat([one[:count] for one, count in zip(everyone, counts, strict=True)])
