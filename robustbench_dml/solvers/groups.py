"""The groups of images that a process moves in projected gradient descent: all, or its share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustbench_dml.models.sharded import Shares, shares_of
from robustbench_dml.utils.distributed import gather_rows, rank, share_bounds


class Groups:
    """All groups, moved by this process alone."""

    @property
    def own(self) -> slice:
        """The process's groups among those still moved."""
        return slice(None)

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        """Map the process's images (own, *K, C, H, W) to the embeddings (n, *K, D) of all groups."""
        embeddings: Tensor = model(_images(images))
        return embeddings.unflatten(0, images.shape[:-3])

    def narrow(self, staying: Tensor) -> tuple[Tensor, Tensor]:
        """Continue with the groups at (m,) indices; returns them in order of use, and the indices among own groups."""
        return staying, staying

    def collect(self, moved: Tensor) -> Tensor:
        """Gather the moved groups of all processes: (T, *K, C, H, W) -> (T, *K, C, H, W)."""
        return moved


class SharedGroups(Groups):
    """A share of the groups. Images stay in their process until the end; only embeddings are exchanged.

    Shares remain blocks of rising rows, so that bounds describe them.
    """

    def __init__(self, shares: Shares, rows: Tensor) -> None:
        """
        Args:
            shares: the sharing of the network.
            rows: (n,) groups to move.
        """
        self._shares, self._rows = shares, rows
        self._bounds = self._first = share_bounds(len(rows))

    @property
    def own(self) -> slice:
        return slice(self._bounds[rank()], self._bounds[rank() + 1])

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        inner = images.shape[1:-3]
        bounds = [bound * inner.numel() for bound in self._bounds]
        return self._shares.embed(model, _images(images), bounds).unflatten(0, (self._bounds[-1], *inner))

    def narrow(self, staying: Tensor) -> tuple[Tensor, Tensor]:
        staying, start = staying.sort().values, self.own.start
        edges = torch.tensor(self._bounds, device=staying.device)
        self._bounds = torch.searchsorted(staying, edges).tolist()
        return staying, staying[self.own] - start

    def collect(self, moved: Tensor) -> Tensor:
        self._bounds = self._first
        moved[self._rows] = gather_rows(moved[self._rows[self.own]], self._first)
        return moved


def _images(groups: Tensor) -> Tensor:
    """(n, *K, C, H, W) -> (m, C, H, W), a view, because autocast would keep the cast of every leaf."""
    return groups.view_as(groups).flatten(0, -4)


def groups_of(model: nn.Module, rows: Tensor) -> Groups:
    """Divide the (n,) groups among the processes that share this network."""
    shares = shares_of(model)
    return Groups() if shares is None else SharedGroups(shares, rows)
