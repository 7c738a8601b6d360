"""Which groups of images a process moves in projected gradient descent: all of them, or its share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustbench_dml.models.sharded import Shares, shares_of
from robustbench_dml.utils.distributed import gather_rows, rank, share_bounds


class Groups:
    """All groups, moved by this process alone."""

    @property
    def own(self) -> slice:
        """Its groups, among those that are still moved."""
        return slice(None)

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        """Embeddings of all groups from this process's images: (own, *K, C, H, W) -> (n, *K, D)."""
        embeddings: Tensor = model(_images(images))
        return embeddings.unflatten(0, images.shape[:-3])

    def narrow(self, staying: Tensor) -> tuple[Tensor, Tensor]:
        """Go on with some groups: (m,) places among all -> the same in the order to be used, and places among own."""
        return staying, staying

    def collect(self, moved: Tensor) -> Tensor:
        """All groups as all processes moved them: (T, *K, C, H, W) with only the own ones moved -> all."""
        return moved


class SharedGroups(Groups):
    """A share of the groups, cut once: images stay where they are until the end, only embeddings are exchanged.

    Shares stay blocks of rising rows, so that bounds say all about them.
    """

    def __init__(self, shares: Shares, rows: Tensor) -> None:
        """
        Args:
            shares: how the network is shared.
            rows: (n,) the groups to be moved.
        """
        self._shares, self._rows = shares, rows
        self._bounds = self._first = share_bounds(len(rows))

    @property
    def own(self) -> slice:
        """The block of this process."""
        return slice(self._bounds[rank()], self._bounds[rank() + 1])

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        """As said."""
        inner = images.shape[1:-3]
        bounds = [bound * inner.numel() for bound in self._bounds]
        return self._shares.embed(model, _images(images), bounds).unflatten(0, (self._bounds[-1], *inner))

    def narrow(self, staying: Tensor) -> tuple[Tensor, Tensor]:
        """As said."""
        staying, start = staying.sort().values, self.own.start
        edges = torch.tensor(self._bounds, device=staying.device)
        self._bounds = torch.searchsorted(staying, edges).tolist()
        return staying, staying[self.own] - start

    def collect(self, moved: Tensor) -> Tensor:
        """As said."""
        self._bounds = self._first
        moved[self._rows] = gather_rows(moved[self._rows[self.own]], self._first)
        return moved


def _images(groups: Tensor) -> Tensor:
    """(n, *K, C, H, W) -> (m, C, H, W), a view: autocast would keep the cast of every leaf that wants a gradient."""
    return groups.view_as(groups).flatten(0, -4)


def groups_of(model: nn.Module, rows: Tensor) -> Groups:
    """How the (n,) groups to be moved are shared by the processes that share this network."""
    shares = shares_of(model)
    return Groups() if shares is None else SharedGroups(shares, rows)
