"""The perturbations of adversarial training: projected gradient descent on groups of images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robustbench_dml.solvers.ball import Ball
from robustbench_dml.solvers.early_exit import ActiveGroups
from robustbench_dml.solvers.groups import groups_of
from robustbench_dml.spec.schema import Threat

# (embeddings (n, *K, D), rows (n,)) -> (n,): the value of each group still under attack, to be minimised. `rows`
# says which groups these are, for objectives that keep something per group.
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
    """Projected gradient descent with a constant step of `alpha * sign(gradient)` and no random start.

    Madry et al., ICLR 2018, arXiv:1706.06083. The images of one group are attacked together (the three of a
    triplet, or a single query). A group whose value has reached the minimum has no gradient any more, so it
    would stay as it is: with `finished` it leaves the batch, and the loop ends when all have. That changes the
    cost, not the result, up to the rounding of the network on a smaller batch.

    Where several processes share the model, each moves its share of the groups; the objective sees all of them.

    Args:
        model: images to embeddings, in eval mode.
        images: (T, *K, C, H, W) float in [0, 1]: T groups of K images (no K axis: single images).
        objective: what each group minimises.
        threat: norm, radius, step (L2: along the gradient instead of its sign) and number of steps.
        active: (T,) bool, the groups to attack; the others stay as they are. None attacks all.
        finished: values (n,) -> (n,) bool, the groups that cannot move any more. None runs every step.

    Returns:
        The perturbed images, (T, *K, C, H, W), within the radius and within [0, 1]; no gradient attached.
    """
    result = images.detach().clone()
    rows = torch.arange(len(images), device=images.device)
    if active is not None:
        rows = rows[active]
    groups = groups_of(model, rows)
    current = result[rows[groups.own]]
    ball, leaving = Ball(current, threat), ActiveGroups(len(rows), images.device)
    for _ in range(threat.steps if len(rows) else 0):
        current.requires_grad_(True)
        with torch.enable_grad():
            values = objective(groups.embed(model, current), rows)
        if not values.requires_grad:  # the model cut the graph: nothing to follow
            break
        done = None if finished is None else finished(values)
        staying = None if done is None else leaving.staying(done)
        if staying is not None and len(staying) == 0:
            break
        # A GPU tells one step late who is done: until then they stay as they are, whatever their gradient is.
        moving = torch.ones_like(values) if done is None else (~done).to(values)
        (gradient,) = torch.autograd.grad(values, current, moving)
        current = ball.descend(current.detach(), gradient)
        if staying is not None:
            result[rows[groups.own]] = current
            staying, kept = groups.narrow(staying)
            rows, current, ball = rows[staying], current[kept], ball.take(kept)
    result[rows[groups.own]] = current.detach()
    return groups.collect(result)
