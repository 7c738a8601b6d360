"""Recognising embeddings that have collapsed, at the end and while training."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_dml.retrieval.metrics import effective_rank, mean_cosine
from robustbench_dml.training.losses import MARGIN

COSINE = 0.99  # mean cosine of two embeddings above which they are all alike
RANK = 1.2  # effective rank below which they lie on one line
STUCK = 0.01  # share of the margin within which a loss counts as stuck at it, if the embeddings are near, too
NEAR = 0.3  # distance from their mean within which embeddings are near to each other
EVERY = 5  # iterations between two looks
PATIENCE = 20  # looks in a row before training is said to have collapsed; at the end of training one is enough


def collapse_cause(cosine: float, rank: float) -> str | None:
    """Why these embeddings have collapsed, None if they have not."""
    if cosine > COSINE:
        return f"mean cosine {cosine:.4f} > {COSINE}"
    if rank < RANK:
        return f"effective rank {rank:.2f} < {RANK}"
    return None


class CollapseMonitor:
    """Watches the embeddings that training makes anyway, so that looking costs no propagation.

    Attributes:
        since: iteration at which the collapse now seen, or once confirmed, began; None while there is none.
        cause: what was seen then.
        confirmed: whether it has lasted long enough to be believed.
        cosine: mean cosine of two embeddings at the last look of this process, None before.
        rank: their effective rank.
    """

    def __init__(self, model: nn.Module) -> None:
        self.since: int | None = None
        self.cause: str | None = None
        self.cosine: float | None = None
        self.rank: float | None = None
        self._looks = 0
        self._seen: list[Tensor] | None = None  # since `begin`
        model.register_forward_hook(self._keep)

    @property
    def confirmed(self) -> bool:
        """Whether the collapse has lasted for `PATIENCE` looks."""
        return self._looks >= PATIENCE

    def begin(self) -> None:
        """Call before an iteration's training forward."""
        self._seen = []

    def look(self, iteration: int, loss: float) -> None:
        """Call after an iteration, with its loss."""
        seen, self._seen = self._seen, None
        if iteration % EVERY or not seen:
            return
        embeddings = torch.cat(seen)
        self.cosine, self.rank = mean_cosine(embeddings), effective_rank(embeddings)
        cause = collapse_cause(self.cosine, self.rank)
        if cause is None and abs(loss - MARGIN) < STUCK * MARGIN and float(_spread(embeddings)) < NEAR:
            cause = f"loss stuck at the margin, {loss:.4f}"
        if self.confirmed:  # what was believed is not taken back
            return
        if cause is None:
            self.since, self.cause, self._looks = None, None, 0
            return
        self._looks += 1
        if self.since is None:
            self.since, self.cause = iteration, cause

    def state(self) -> str:
        """For a checkpoint."""
        return json.dumps({"since": self.since, "cause": self.cause, "_looks": self._looks})

    def load_state(self, state: str) -> None:
        """Take up what `state` returned."""
        values: dict[str, Any] = json.loads(state)
        for name, value in values.items():
            setattr(self, name, value)

    def _keep(self, _: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
        if self._seen is not None:
            self._seen.append(output.detach())


def _spread(embeddings: Tensor) -> Tensor:
    """Root mean square distance from the mean embedding."""
    return (embeddings - embeddings.mean(0)).square().sum(1).mean().sqrt()
