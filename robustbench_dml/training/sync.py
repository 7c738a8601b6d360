"""Synchronization of gradients and compute between the processes of a run."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from robustbench_dml.spec.schema import ComputeUsed
from robustbench_dml.utils.distributed import ROUNDING, gather_values, world_size
from robustbench_dml.utils.errors import RbdmlError


def average_gradients(weights: Iterable[Tensor]) -> None:
    """Average the gradient of every weight over processes, in one exchange."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    if world_size() == 1 or not gradients:
        return
    together = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(together)
    together /= world_size()
    for gradient, mean in zip(gradients, together.split([one.numel() for one in gradients]), strict=True):
        gradient.copy_(mean.view(gradient.shape))


def spent_together(own: ComputeUsed, *, loss: float, chosen: torch.Tensor) -> ComputeUsed:
    """Combine the compute of all processes: the sum of their propagations and the time of the slowest.

    Args:
        own: compute of this process. That of the leader includes earlier parts of the run.
        loss: loss of this iteration, compared between processes.
        chosen: (T, 3) rows of this iteration's triplets, compared, too.

    Raises:
        RbdmlError: losses or triplets differ between processes.
    """
    if world_size() == 1:
        return own
    weights = torch.arange(1, chosen.numel() + 1, device=chosen.device)
    choice = float((chosen.reshape(-1) * weights).sum())  # differs for nearly all other triplets
    table = gather_values(own.forward_only, own.to_input, own.to_weights, own.seconds, loss, choice)
    losses, choices = table[:, 4], table[:, 5]
    if bool((choices != choice).any()) or float(losses.max() - losses.min()) > ROUNDING * float(losses.abs().max()):
        raise RbdmlError(
            "the processes of this run chose different triplets or came to different losses, since the defense draws "
            "from something else than batch.rng and torch's own generators: draw from those, or use one device"
        )
    counts = zip(("forward_only", "to_input", "to_weights"), table[:, :3].sum(0).tolist(), strict=True)
    return own.model_copy(update={**{name: int(count) for name, count in counts}, "seconds": float(table[:, 3].max())})
