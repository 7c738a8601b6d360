"""Triplet miners: one triplet per pair of a batch, from benign embeddings in eval mode, without gradient.

Every miner works on the whole batch at once, on the embeddings' device, and draws from the batch's generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_dml.retrieval.geometry import pairwise_distance
from robustbench_dml.training.batches import Batch
from robustbench_dml.training.losses import MARGIN
from robustbench_dml.utils.errors import RbdmlError, did_you_mean


@dataclass(frozen=True)
class Triplets:
    """T triplets as (T,) rows of a batch."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor

    @property
    def rows(self) -> Tensor:
        """(T, 3) rows of the anchor, positive and negative."""
        return torch.stack([self.anchor, self.positive, self.negative], dim=1)


@dataclass(frozen=True)
class TripletMiner:
    """Picks one triplet per pair.

    Attributes:
        name: name of the miner.
        letter: its letter in the papers.
        choose: maps benign (2P, D) embeddings and the batch to triplets.
        needs_embeddings: False if `choose` takes None instead of embeddings.
    """

    name: str
    letter: str
    choose: Callable[[Tensor | None, Batch], Triplets]
    needs_embeddings: bool = True


def miner_by_name(name: str) -> TripletMiner:
    """Return the miner with this name or letter.

    Raises:
        RbdmlError: there is none.
    """
    for miner in MINERS:
        if name in (miner.name, miner.letter):
            return miner
    known = ", ".join(f"{miner.letter} ({miner.name})" for miner in MINERS)
    hint = did_you_mean(name, [miner.name for miner in MINERS])
    raise RbdmlError(f"unknown sampler '{name}': {hint}use one of {known}")


def random_triplets(_: Tensor | None, batch: Batch) -> Triplets:
    """R: take the pair and draw the negative uniformly from images of other classes."""
    anchor, positive = _pair_rows(batch)
    _, other = _relations(batch)
    return Triplets(anchor, positive, _choose(other, batch.rng))


def softhard_triplets(embeddings: Tensor | None, batch: Batch) -> Triplets:
    """S: softhard mining of Roth et al., ICML 2020, arXiv:2002.08473.

    The negative is uniform over negatives nearer to the anchor than its farthest positive. The positive is uniform
    over positives farther than the nearest negative. If there are none, the draw is uniform over all. The published
    code lets the anchor be its own positive; here it is excluded.
    """
    anchor, _, same, other, d = _distances(embeddings, batch)
    farthest_positive = d.masked_fill(~same, -torch.inf).amax(1, keepdim=True)
    nearest_negative = d.masked_fill(~other, torch.inf).amin(1, keepdim=True)
    negative = _choose(_or_all(other & (d < farthest_positive), other), batch.rng)
    positive = _choose(_or_all(same & (d > nearest_negative), same), batch.rng)
    return Triplets(anchor, positive, negative)


def semihard_triplets(embeddings: Tensor | None, batch: Batch) -> Triplets:
    """M: semihard mining of FaceNet (Schroff et al., CVPR 2015, arXiv:1503.03832).

    The negative is uniform over negatives farther than the positive by less than the margin, or over all if there are
    none.
    """
    anchor, positive, _, other, d = _distances(embeddings, batch)
    to_positive = d.gather(1, positive[:, None])
    semihard = other & (d > to_positive) & (d < to_positive + MARGIN)
    return Triplets(anchor, positive, _choose(_or_all(semihard, other), batch.rng))


def distance_weighted_triplets(embeddings: Tensor | None, batch: Batch) -> Triplets:
    """D: distance-weighted mining of Wu et al., ICCV 2017, arXiv:1706.07567.

    The negative is drawn with probability proportional to 1/q(d). q(d) = d^(D-2) (1 - d^2/4)^((D-3)/2) is the density
    of distances on the sphere. There are no cutoffs, so in 512 dimensions the nearest nearly always wins.
    """
    anchor, positive, _, other, d = _distances(embeddings, batch)
    weights = log_inverse_density(d, embeddings.shape[1]).masked_fill(~other, -torch.inf)  # type: ignore[union-attr]
    draw = torch.rand(d.shape, generator=batch.rng, dtype=torch.float64).to(d.device)
    return Triplets(anchor, positive, (weights - (-draw.log()).log()).argmax(1))  # Gumbel-max: an exact draw


def log_inverse_density(d: Tensor, dimension: int) -> Tensor:
    """Return log(1 / q(d)) without its constant, in float64. It is finite for equal and for opposite vectors."""
    d = d.double().clamp(1e-4, 2 - 1e-4)
    return (2 - dimension) * d.log() + (3 - dimension) / 2 * torch.log1p(-d.square() / 4)


def hardest_triplets(embeddings: Tensor | None, batch: Batch) -> Triplets:
    """H: take the negative nearest to the anchor, ties by row."""
    anchor, positive, _, other, d = _distances(embeddings, batch)
    return Triplets(anchor, positive, d.masked_fill(~other, torch.inf).argmin(1))


def _distances(embeddings: Tensor | None, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return anchors, partners, (P, 2P) masks of positives and of negatives, and (P, 2P) distances."""
    if embeddings is None:
        raise ValueError("this miner needs embeddings")
    anchor, positive = _pair_rows(batch)
    same, other = _relations(batch)
    return anchor, positive, same, other, pairwise_distance(embeddings[: batch.pairs], embeddings)


def _pair_rows(batch: Batch) -> tuple[Tensor, Tensor]:
    anchor = torch.arange(batch.pairs, device=batch.labels.device)
    return anchor, anchor + batch.pairs


def _relations(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return (P, 2P) masks: other images of the anchor's class, and images of other classes."""
    anchor_labels, anchor_indices = batch.labels[: batch.pairs, None], batch.indices[: batch.pairs, None]
    same_class = anchor_labels == batch.labels
    other = ~same_class
    if not bool(other.any(1).all()):
        raise RbdmlError("a batch held images of one class only: use a larger --pairs")
    return same_class & (anchor_indices != batch.indices), other


def _or_all(preferred: Tensor, everything: Tensor) -> Tensor:
    return torch.where(preferred.any(1, keepdim=True), preferred, everything)


def _choose(allowed: Tensor, rng: torch.Generator) -> Tensor:
    """Draw a column of each row, uniform over the true ones: (P, 2P) bool -> (P,)."""
    draw = torch.rand(allowed.shape, generator=rng).to(allowed.device)
    return draw.masked_fill(~allowed, -1).argmax(1)


MINERS = (
    TripletMiner("random", "R", random_triplets, needs_embeddings=False),
    TripletMiner("semihard", "M", semihard_triplets),
    TripletMiner("softhard", "S", softhard_triplets),
    TripletMiner("distance", "D", distance_weighted_triplets),
    TripletMiner("hardest", "H", hardest_triplets),
)
