"""Exchange between the processes of a run. A process that runs alone needs no exchange.

Each process computes everything cheap by itself, from the same seeds. Only embeddings, gradients and results travel.
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
ROUNDING = 1e-4  # relative; the losses of the same images differ by less


def world_size() -> int:
    """Return the number of processes that share this run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def is_leader() -> bool:
    """Return true in the process that writes files."""
    return rank() == 0


@contextmanager
def process_group(rendezvous: Path, *, number: int, processes: int, device: torch.device) -> Iterator[None]:
    """Join the other processes, and leave them at the end.

    Args:
        rendezvous: path of a new file, the same in all processes.
        number: rank of this process.
        processes: size of the group.
        device: the device of this process.
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
    """Return true if an exchange failed because another process has ended."""
    return isinstance(error, dist.DistError) or "Connection" in str(error) or "gloo" in str(error)


def broadcast(value: T | None = None) -> T:
    """Return the leader's value in every process."""
    values: list[Any] = [value]
    if world_size() > 1:
        dist.broadcast_object_list(values, src=0)
    return values[0]


def merge(results: dict[Any, T]) -> dict[Any, T]:
    """Return the results of all processes. No two of them may share a key."""
    if world_size() == 1:
        return results
    parts: list[dict[Any, T]] = [{} for _ in range(world_size())]
    dist.all_gather_object(parts, results)
    return {key: value for part in parts for key, value in part.items()}


def check_on_all(check: Callable[[], object]) -> None:
    """Raise KeyboardInterrupt in all processes if `check` raises it in any of them."""
    interrupted = False
    try:
        check()
    except KeyboardInterrupt:
        interrupted = True
    if bool(gather_values(float(interrupted)).any()):
        raise KeyboardInterrupt


def gather_values(*values: float) -> torch.Tensor:
    """Return the values of each process: (processes, values) float64."""
    mine = torch.tensor(values, dtype=torch.float64)
    if world_size() == 1:
        return mine[None]
    parts = [torch.empty_like(mine) for _ in range(world_size())]
    dist.all_gather(parts, mine)
    return torch.stack(parts)


def share_bounds(rows: int) -> list[int]:
    """Return the first row of each process's even share, and the end: 7 rows of two processes give [0, 4, 7]."""
    even, rest = divmod(rows, world_size())
    return [number * even + min(number, rest) for number in range(world_size() + 1)]


def gather_rows(rows: torch.Tensor, bounds: list[int]) -> torch.Tensor:
    """Concatenate the shares of all processes: (rows of this share, ...) -> (all rows, ...).

    Args:
        rows: the share of this process.
        bounds: the bounds that `share_bounds` returns.
    """
    counts = [end - start for start, end in itertools.pairwise(bounds)]
    padded = rows.new_zeros(max(counts), *rows.shape[1:])  # all_gather takes tensors of one size
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
