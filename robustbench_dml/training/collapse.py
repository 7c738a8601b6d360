"""Detection of collapsed embeddings, while training and at its end."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_dml.retrieval.metrics import effective_rank, mean_cosine
from robustbench_dml.training.losses import MARGIN

COSINE = 0.99  # highest mean cosine of two embeddings
RANK = 1.2  # lowest effective rank; below it embeddings lie on a line
STUCK = 0.01  # distance of a stuck loss from the margin, as a share of the margin
NEAR = 0.3  # spread of embeddings below which a stuck loss counts as collapse
EVERY = 5  # iterations between two checks
PATIENCE = 20  # positive checks in a row that confirm a collapse while training; at its end one is enough


def collapse_cause(cosine: float, rank: float) -> str | None:
    """Return the sign of collapse in these measurements, None if there is none."""
    if cosine > COSINE:
        return f"mean cosine {cosine:.4f} > {COSINE}"
    if rank < RANK:
        return f"effective rank {rank:.2f} < {RANK}"
    return None


class CollapseMonitor:
    """Checks the embeddings of training for collapse. It costs no propagation.

    Attributes:
        since: first iteration of the present or confirmed collapse; None if there is none.
        cause: sign of collapse at that iteration.
        confirmed: True once the collapse has lasted for `PATIENCE` checks. It stays True.
        cosine: mean cosine of two embeddings at the last check of this process, None before.
        rank: effective rank of the embeddings at that check.
    """

    def __init__(self, model: nn.Module) -> None:
        self.since: int | None = None
        self.cause: str | None = None
        self.cosine: float | None = None
        self.rank: float | None = None
        self._checks = 0
        self._seen: list[Tensor] | None = None  # embeddings since `begin`
        model.register_forward_hook(self._keep)

    @property
    def confirmed(self) -> bool:
        """True once the collapse has lasted for `PATIENCE` checks."""
        return self._checks >= PATIENCE

    def begin(self) -> None:
        """Start an iteration. Call it before the training forward."""
        self._seen = []

    def check(self, iteration: int, loss: float) -> None:
        """Check the embeddings of an iteration. Call it after the step, with the triplet loss; NaN for another loss."""
        seen, self._seen = self._seen, None
        if iteration % EVERY or not seen:
            return
        embeddings = torch.cat(seen)
        self.cosine, self.rank = mean_cosine(embeddings), effective_rank(embeddings)
        cause = collapse_cause(self.cosine, self.rank)
        if cause is None and abs(loss - MARGIN) < STUCK * MARGIN and float(_spread(embeddings)) < NEAR:
            cause = f"loss stuck at the margin, {loss:.4f}"
        if self.confirmed:  # a confirmed collapse is never withdrawn
            return
        if cause is None:
            self.since, self.cause, self._checks = None, None, 0
            return
        self._checks += 1
        if self.since is None:
            self.since, self.cause = iteration, cause

    def state(self) -> str:
        """Return the state for a checkpoint."""
        return json.dumps({"since": self.since, "cause": self.cause, "_looks": self._checks})

    def load_state(self, state: str) -> None:
        """Restore the result of `state`."""
        values = json.loads(state)
        self.since, self.cause, self._checks = values["since"], values["cause"], values["_looks"]

    def _keep(self, _: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
        if self._seen is not None:
            self._seen.append(output.detach())


def _spread(embeddings: Tensor) -> Tensor:
    """Root mean square distance from the mean embedding."""
    return (embeddings - embeddings.mean(0)).square().sum(1).mean().sqrt()
