"""Exchange between the processes of a run. A process that runs alone needs no exchange.

Each process computes everything cheap by itself, from the same seeds. Only embeddings, gradients and results travel.
"""

from __future__ import annotations

import datetime
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

T = TypeVar("T")

PATIENCE = datetime.timedelta(days=1)  # one process may prepare data or attack while the others wait
PROMPT = datetime.timedelta(minutes=20)  # all processes are at the same step
ROUNDING = 1e-4  # relative; the losses of the same images differ by less

# The store behind each address, and the numbers of the groups that met there.
_STORES: dict[str, tuple[Any, Iterator[int]]] = {}
_PATIENT: list[Any] = []  # the group that exchanges values of the CPU, if there are other processes


def world_size() -> int:
    """Return the number of processes that share this run; processes of the caller's own group share nothing."""
    return dist.get_world_size() if _PATIENT else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def is_leader() -> bool:
    """Return true in the process that writes files."""
    return rank() == 0


@dataclass(frozen=True)
class Member:
    """A process among those that do a run together."""

    rank: int
    processes: int
    address: str  # where they meet, as `torch.distributed.init_process_group` takes it
    local: int  # number of the process on its machine, and of its device


def launched() -> Member | None:
    """Return the member that torchrun or srun made of this process, by environment variables, if any."""
    environment = os.environ
    if {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= environment.keys():
        rank = int(environment["RANK"])
        return Member(rank, int(environment["WORLD_SIZE"]), "env://", int(environment.get("LOCAL_RANK", rank)))
    if {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"} <= environment.keys():  # srun sets the second, sbatch does not
        rank = int(environment["SLURM_PROCID"])
        host = environment.get("MASTER_ADDR") or environment.get("SLURM_LAUNCH_NODE_IPADDR", "localhost")
        port = environment.get("MASTER_PORT") or 20_000 + int(environment.get("SLURM_JOB_ID", 0)) % 20_000
        local = int(environment.get("SLURM_LOCALID", rank))
        return Member(rank, int(environment["SLURM_STEP_NUM_TASKS"]), f"tcp://{host}:{port}", local)
    return None


def companion() -> Member | None:
    """Return this process among several of torchrun or srun; None if it is alone or in the caller's own group."""
    member = launched()
    return None if member is None or member.processes == 1 or dist.is_initialized() else member


@contextmanager
def process_group(member: Member, device: torch.device) -> Iterator[None]:
    """Join the other processes, and leave them at the end.

    Embeddings and gradients must arrive promptly, since all processes are at the same step. Everything else waits as
    long as it takes.

    Args:
        member: this process.
        device: the device of this process.
    """
    on_gpu = device.type == "cuda"
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        store=_next_store(member),
        rank=member.rank,
        world_size=member.processes,
        timeout=PROMPT,
        device_id=device if on_gpu else None,
    )
    try:
        _PATIENT.append(dist.new_group(backend="gloo", timeout=PATIENCE))
        yield
    finally:
        _PATIENT.clear()
        dist.destroy_process_group()


def _next_store(member: Member) -> Any:
    """Return the place where the processes of the next group meet.

    All groups of a process share one store: a second one on the same port races with the first, and waits for ever.
    """
    if member.address not in _STORES:
        store, _, _ = next(rendezvous(member.address, member.rank, member.processes, timeout=PROMPT))
        _STORES[member.address] = store, itertools.count()
    store, groups = _STORES[member.address]
    return dist.PrefixStore(f"group {next(groups)}", store)  # type: ignore[attr-defined]


def is_lost_peer(error: RuntimeError) -> bool:
    """Return true if an exchange failed because another process has ended."""
    return isinstance(error, dist.DistError) or "Connection" in str(error) or "gloo" in str(error)


def _patient() -> dist.ProcessGroup | None:
    return _PATIENT[0] if _PATIENT else None


def broadcast(value: T | None = None) -> T:
    """Return the leader's value in every process."""
    values: list[Any] = [value]
    if world_size() > 1:
        dist.broadcast_object_list(values, src=0, group=_patient())
    return values[0]


def merge(results: dict[Any, T]) -> dict[Any, T]:
    """Return the results of all processes. No two of them may share a key."""
    if world_size() == 1:
        return results
    parts: list[dict[Any, T]] = [{} for _ in range(world_size())]
    dist.all_gather_object(parts, results, group=_patient())
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
    dist.all_gather(parts, mine, group=_patient())
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
