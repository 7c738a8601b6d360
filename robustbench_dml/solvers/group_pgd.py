"""Projected gradient descent on groups of images, for adversarial training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robustbench_dml.solvers.ball import Ball
from robustbench_dml.solvers.early_exit import ActiveGroups
from robustbench_dml.solvers.groups import groups_of
from robustbench_dml.spec.schema import Threat

# (embeddings (n, *K, D), rows (n,)) -> (n,) values to minimise, for the groups still under attack. `rows` are the
# numbers of these groups, for objectives with values per group.
Objective = Callable[[Tensor, Tensor], Tensor]


def pgd(
    model: nn.Module,
    images: Tensor,
    objective: Objective,
    *,
    threat: Threat,
    active: Tensor | None = None,
    finished: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Run projected gradient descent with constant steps of `alpha * sign(gradient)` and no random start.

    Madry et al., ICLR 2018, arXiv:1706.06083. The images of a group are attacked together, for instance the three of
    a triplet. A group at its minimum has no gradient and would not move again. With `finished` it leaves the batch,
    and the loop ends when all groups have left. This lowers the cost. It changes the result only by the rounding of
    the network on a smaller batch.

    If several processes share the model, each moves its share of the groups. The objective still gets all groups.

    Args:
        model: maps images to embeddings, in eval mode.
        images: (T, *K, C, H, W) float in [0, 1]: T groups of K images (no K axis: single images).
        objective: gives the value that each group minimises.
        threat: norm, radius, step (L2: along the gradient instead of its sign) and number of steps.
        active: (T,) bool, the groups to attack; the others are not moved. None attacks all.
        finished: maps (n,) values to (n,) bool, the groups that cannot move again. None runs every step.

    Returns:
        Perturbed images (T, *K, C, H, W) within the radius and within [0, 1], without gradient.
    """
    result = images.detach().clone()
    rows = torch.arange(len(images), device=images.device)
    if active is not None:
        rows = rows[active]
    groups = groups_of(model, rows)
    current = result[rows[groups.own]]
    ball, groups_left = Ball(current, threat), ActiveGroups(len(rows), images.device)
    for _ in range(threat.steps if len(rows) else 0):
        current.requires_grad_(True)
        with torch.enable_grad():
            values = objective(groups.embed(model, current), rows)
        if not values.requires_grad:  # the model cut the graph, so there is no gradient
            break
        done = None if finished is None else finished(values)
        staying = None if done is None else groups_left.staying(done)
        if staying is not None and len(staying) == 0:
            break
        # On a GPU finished groups leave one step late; until then their gradient counts as zero.
        moving = torch.ones_like(values) if done is None else (~done).to(values)
        (gradient,) = torch.autograd.grad(values, current, moving)
        current = ball.descend(current.detach(), gradient)
        if staying is not None:
            result[rows[groups.own]] = current
            staying, kept = groups.narrow(staying)
            rows, current, ball = rows[staying], current[kept], ball.take(kept)
    result[rows[groups.own]] = current.detach()
    return groups.collect(result)
