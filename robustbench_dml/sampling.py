"""Which images form a batch, and which of them form triplets.

Batches are SPC-2 (two samples per class): every anchor comes with another image of its class. The published
code draws that partner from the whole class, the anchor included; here the anchor is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_dml.errors import RbdmlError
from robustbench_dml.geometry import pairwise_distance
from robustbench_dml.randomness import generator


@dataclass(frozen=True)
class Batch:
    """P pairs. Rows 0..P-1 are anchors; row P+i is another image of anchor i's class.

    Attributes:
        images: (2P, C, H, W) float in [0, 1].
        labels: (2P,) class of each row.
        indices: (2P,) row of each image in its split; two rows can hold the same image.
        rng: CPU generator of this iteration.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    rng: torch.Generator

    @property
    def pairs(self) -> int:
        """P, the number of pairs."""
        return len(self.labels) // 2


@dataclass(frozen=True)
class Triplets:
    """T triplets, as rows of a batch: each attribute is (T,)."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor

    @property
    def rows(self) -> Tensor:
        """(T, 3): anchor, positive and negative of each triplet."""
        return torch.stack([self.anchor, self.positive, self.negative], dim=1)


class PairStream:
    """The pairs of every iteration, as a function of the seed and the iteration alone.

    An epoch is a permutation of the anchors cut into batches; what does not fill a batch is left out of that
    epoch. Partners are uniform over the other images of the anchor's class.
    """

    def __init__(self, labels: Tensor, *, pairs: int, seed: int) -> None:
        """
        Args:
            labels: (N,) classes of the training images.
            pairs: P, anchors per batch.
            seed: the run's seed.

        Raises:
            RbdmlError: fewer than P images have a partner, or there is one class only.
        """
        labels = labels.cpu()
        self._by_class = torch.argsort(labels, stable=True)
        _, inverse, count = torch.unique(labels, return_inverse=True, return_counts=True)
        self._class_size = count[inverse]
        self._class_start = (count.cumsum(0) - count)[inverse]
        self._place = torch.empty_like(labels)
        self._place[self._by_class] = torch.arange(len(labels))
        self._anchors = torch.nonzero(self._class_size >= 2).squeeze(1)
        self.pairs, self._seed = pairs, seed
        if len(self._anchors) < pairs:
            raise RbdmlError(
                f"a batch needs {pairs} anchors and the data has {len(self._anchors)} images with a partner: "
                "use a smaller --pairs"
            )
        if len(count) < 2:
            raise RbdmlError("the training data has one class only: triplets need images of at least two")
        self._epoch = (-1, self._anchors)

    @property
    def iterations_per_epoch(self) -> int:
        """Batches in one pass over the anchors."""
        return len(self._anchors) // self.pairs

    def indices(self, iteration: int) -> Tensor:
        """(2P,) rows of the split for this iteration: P anchors, then their partners."""
        epoch, place = divmod(iteration, self.iterations_per_epoch)
        if self._epoch[0] != epoch:
            order = torch.randperm(len(self._anchors), generator=generator(self._seed, "anchors", epoch))
            self._epoch = (epoch, self._anchors[order])
        anchors = self._epoch[1][place * self.pairs : (place + 1) * self.pairs]
        start, size = self._class_start[anchors], self._class_size[anchors]
        draw = torch.rand(len(anchors), generator=generator(self._seed, "partners", iteration), dtype=torch.float64)
        step = 1 + (draw * (size - 1)).long()
        partners = self._by_class[start + (self._place[anchors] - start + step) % size]
        return torch.cat([anchors, partners])


@dataclass(frozen=True)
class Sampler:
    """Chooses one triplet per pair. `choose(embeddings, batch)` returns `Triplets`; the embeddings are benign,
    in eval mode and without gradient, or None for a sampler that does not look at them."""

    name: str
    letter: str  # as in the papers
    choose: Callable[[Tensor | None, Batch], Triplets]
    needs_embeddings: bool = True


def sampler_by_name(name: str) -> Sampler:
    """The sampler with this name or letter.

    Raises:
        RbdmlError: there is none.
    """
    for sampler in SAMPLERS:
        if name in (sampler.name, sampler.letter):
            return sampler
    known = ", ".join(f"{sampler.letter} ({sampler.name})" for sampler in SAMPLERS)
    raise RbdmlError(f"unknown sampler '{name}': use one of {known}")


def random_triplets(_: Tensor | None, batch: Batch) -> Triplets:
    """R: the pair, and a negative uniform over the other classes' images in the batch."""
    anchor, positive = _pair_rows(batch)
    _, other = _relations(batch)
    return Triplets(anchor, positive, _choose(other, batch.rng))


def softhard_triplets(embeddings: Tensor | None, batch: Batch) -> Triplets:
    """S: softhard of Roth et al., ICML 2020, arXiv:2002.08473.

    The negative is uniform over those nearer to the anchor than its farthest positive, the positive uniform
    over those farther than its nearest negative; where there is none, uniform over all of them. The published
    code lets the anchor be its own positive; here it is left out.
    """
    if embeddings is None:
        raise ValueError("the softhard sampler looks at embeddings")
    anchor, _ = _pair_rows(batch)
    same, other = _relations(batch)
    d = pairwise_distance(embeddings[: batch.pairs], embeddings)
    farthest_positive = d.masked_fill(~same, -torch.inf).amax(1, keepdim=True)
    nearest_negative = d.masked_fill(~other, torch.inf).amin(1, keepdim=True)
    negative = _choose(_or_all(other & (d < farthest_positive), other), batch.rng)
    positive = _choose(_or_all(same & (d > nearest_negative), same), batch.rng)
    return Triplets(anchor, positive, negative)


def _pair_rows(batch: Batch) -> tuple[Tensor, Tensor]:
    anchor = torch.arange(batch.pairs, device=batch.labels.device)
    return anchor, anchor + batch.pairs


def _relations(batch: Batch) -> tuple[Tensor, Tensor]:
    """(P, 2P) bool: other images of the anchor's class; images of other classes."""
    anchor_labels, anchor_indices = batch.labels[: batch.pairs, None], batch.indices[: batch.pairs, None]
    same_class = anchor_labels == batch.labels
    other = ~same_class
    if not bool(other.any(1).all()):
        raise RbdmlError("a batch held images of one class only: use a larger --pairs")
    return same_class & (anchor_indices != batch.indices), other


def _or_all(preferred: Tensor, everything: Tensor) -> Tensor:
    return torch.where(preferred.any(1, keepdim=True), preferred, everything)


def _choose(allowed: Tensor, rng: torch.Generator) -> Tensor:
    """One column of each row, uniform over those that are true: (P, 2P) bool -> (P,)."""
    draw = torch.rand(allowed.shape, generator=rng).to(allowed.device)
    return draw.masked_fill(~allowed, -1).argmax(1)


SAMPLERS = (
    Sampler("random", "R", random_triplets, needs_embeddings=False),
    Sampler("softhard", "S", softhard_triplets),
)
