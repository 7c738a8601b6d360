"""Gradients and costs shared between the processes of a run."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn

from robustbench_dml.spec.schema import ComputeUsed
from robustbench_dml.utils.distributed import ROUNDING, gather_values, world_size
from robustbench_dml.utils.errors import RbdmlError


def average_gradients(model: nn.Module) -> None:
    """Give every weight the mean of the gradients that the processes have for it: one exchange."""
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    if world_size() == 1 or not gradients:
        return
    together = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(together)
    together /= world_size()
    for gradient, mean in zip(gradients, together.split([one.numel() for one in gradients]), strict=True):
        gradient.copy_(mean.view(gradient.shape))


def spent_together(own: ComputeUsed, *, loss: float, chosen: torch.Tensor) -> ComputeUsed:
    """What all processes have spent: the sum of their propagations, and the time of the slowest.

    Args:
        own: of this process; of the leading one with what was spent before they met, of the others without.
        loss: of this iteration, to see that all came to the same one.
        chosen: (T, 3) rows of this iteration's triplets, likewise.

    Raises:
        RbdmlError: they did not.
    """
    if world_size() == 1:
        return own
    places = torch.arange(1, chosen.numel() + 1, device=chosen.device)
    choice = float((chosen.reshape(-1) * places).sum())  # other triplets nearly always have another sum
    table = gather_values(own.forward_only, own.to_input, own.to_weights, own.seconds, loss, choice)
    losses, choices = table[:, 4], table[:, 5]
    if bool((choices != choice).any()) or float(losses.max() - losses.min()) > ROUNDING * float(losses.abs().max()):
        raise RbdmlError(
            "the processes of this run chose different triplets or came to different losses, since the defense draws "
            "from something else than batch.rng and torch's own generators: draw from those, or use one device"
        )
    forward_only, to_input, to_weights = (int(count) for count in table[:, :3].sum(0).tolist())
    return own.model_copy(
        update={
            "forward_only": forward_only,
            "to_input": to_input,
            "to_weights": to_weights,
            "seconds": float(table[:, 3].max()),
        }
    )
