"""One network on several processes. Each embeds its share of the images, and all get all embeddings.

A defense calls its model on the whole batch and gets the embeddings of the whole batch, as on one device. So miners,
objectives and losses need no change, and every process computes them alike. The gradient returns the same way. Every
process has the gradient of all embeddings and takes it through its share. The gradients of the weights are averaged
once an iteration.

This mean is right because the gradient of a share is multiplied by the number of processes. A loss term without
images, such as a penalty on the weights, is already in the gradient of each.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_dml.models.embedder import Embedder
from robustbench_dml.utils.distributed import gather_rows, rank, share_bounds, world_size
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.randomness import seed_of


class Shares:
    """Hooks on a network that let every process propagate its share of the images. Copies of the network share, too."""

    def __init__(self, model: nn.Module) -> None:
        self.open = True
        self._given: list[int] | None = None  # bounds of shares that the caller has cut
        self._bounds: list[int] = []
        self._calls = (0, 0)  # torch's seed, and the number of calls since it was set
        self._forked: Any = None
        model.register_forward_pre_hook(self._take)
        model.register_forward_hook(self._gather, prepend=True)  # other hooks see all embeddings

    def __deepcopy__(self, _: dict[int, Any]) -> Shares:
        return self

    def embed(self, model: nn.Module, own: Tensor, bounds: list[int]) -> Tensor:
        """Map the process's share (own rows, C, H, W) to the embeddings (all rows, D) of all processes.

        Gradients go to the images of this process, not to weights.
        """
        self._given = bounds
        try:
            embeddings: Tensor = model(own)
        finally:
            self._given = None
        return embeddings

    def _take(self, model: nn.Module, arguments: tuple[Any, ...]) -> tuple[Tensor] | None:
        if not self.open:
            return None
        if len(arguments) != 1 or not isinstance(arguments[0], Tensor):
            raise RbdmlError("on several devices a defense calls model(images), with no other argument: change that")
        [images] = arguments
        self._fork(images.device)
        if self._given is not None:
            self._bounds = self._given
            return None
        self._bounds = share_bounds(len(images))
        return (_Take.apply(images, self._bounds),)

    def _gather(self, model: nn.Module, _: tuple[Any, ...], embeddings: Tensor) -> Tensor | None:
        if not self.open:
            return None
        self._forked.__exit__(None, None, None)
        whole: Tensor = _Gather.apply(embeddings, self._bounds, world_size() if self._given is None else 1)
        return whole

    def _fork(self, device: torch.device) -> None:
        """Give each process its own random numbers inside the network, such as dropout's, and equal ones outside."""
        seed, call = torch.initial_seed(), 0
        if self._calls[0] == seed:
            call = self._calls[1] + 1
        self._calls = seed, call
        self._forked = torch.random.fork_rng([] if device.type == "cpu" else [device])
        self._forked.__enter__()
        torch.manual_seed(seed_of(seed, "share", rank(), call))


_SHARED: weakref.WeakKeyDictionary[nn.Module, Shares] = weakref.WeakKeyDictionary()


def shares_of(model: object) -> Shares | None:
    """Return the sharing of this network, None if each process has its own."""
    return _SHARED.get(model) if isinstance(model, nn.Module) else None


@contextmanager
def shared(model: Embedder) -> Iterator[None]:
    """Divide the images given to this network among all processes. A single process propagates all.

    Raises:
        RbdmlError: batch-norm would see the statistics of a share.
    """
    if world_size() == 1:
        yield
        return
    model.check_parts()
    shares = Shares(model)
    _SHARED[model] = shares
    try:
        yield
    finally:
        shares.open = False
        del _SHARED[model]


class _Take(torch.autograd.Function):
    """Takes this process's rows. The gradient gathers those of all processes."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, bounds: list[int]) -> Tensor:
        ctx.bounds = bounds
        return images[bounds[rank()] : bounds[rank() + 1]]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Gather.apply(gradient / world_size(), ctx.bounds, world_size()), None


class _Gather(torch.autograd.Function):
    """Gathers the rows of all processes. All have the gradient of all rows, so the backward needs no exchange."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, bounds: list[int], counted: int) -> Tensor:
        ctx.bounds, ctx.counted = bounds, counted
        return gather_rows(own, bounds)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Take.apply(gradient, ctx.bounds) * ctx.counted, None, None
