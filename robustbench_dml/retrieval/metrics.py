"""Exact benign retrieval metrics, in blocks of queries.

Every image is a query against all others. Its own row is excluded by index: excluding the smallest distance would be
wrong for ties and duplicates. Ties between other rows are broken by their index.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import faiss
import numpy as np
import torch
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

from robustbench_dml.retrieval.geometry import unit64, unit_keys
from robustbench_dml.retrieval.ranks import exact_ranks

BLOCK = 512  # queries ranked at once: memory is a few times BLOCK x N x 8 bytes
FEW = 64  # largest class for which ranking its items one by one is faster than sorting whole lists
KMEANS_ITERATIONS = 50  # upper limit


@dataclass(frozen=True)
class RetrievalScores:
    """Scores per query, (Q,) float64 in [0, 1]; NaN for a query without another image of its class.

    Attributes:
        r_at_1: 1 if the nearest item has the query's class.
        r_at_2: 1 if one of the two nearest items has it.
        ap: average precision over the whole gallery.
        ap_at_r: average precision over the R nearest, R the number of items of the query's class (mAP@R of
            Musgrave et al., ECCV 2020, arXiv:2003.08505).
    """

    r_at_1: Tensor
    r_at_2: Tensor
    ap: Tensor
    ap_at_r: Tensor


def retrieval_scores(embeddings: Tensor, labels: Tensor, queries: Tensor) -> RetrievalScores:
    """Rank the gallery for each query.

    Args:
        embeddings: (N, D) unit vectors.
        labels: (N,) classes.
        queries: (Q,) rows of the queries; all rows are the gallery.
    """
    _, inverse, count = torch.unique(labels, return_inverse=True, return_counts=True)
    if int(count.max()) <= FEW:
        return _counted(embeddings, queries, inverse, count)
    return _sorted(embeddings, labels, queries)


def _counted(embeddings: Tensor, queries: Tensor, classes: Tensor, count: Tensor) -> RetrievalScores:
    """Score from the ranks of each query's class. Sorting queries by class size keeps the padding of blocks small."""
    members = torch.full((len(count), int(count.max())), -1, device=classes.device)
    order = classes.argsort(stable=True)
    within = torch.arange(len(order), device=order.device) - (count.cumsum(0) - count)[classes[order]]
    members[classes[order], within] = order
    by_size = count[classes[queries]].argsort(descending=True, stable=True)
    own = queries[by_size]
    items = members[classes[own]]
    ranks = exact_ranks(embeddings, own, torch.where(items < 0, own[:, None], items))
    back = by_size.argsort()
    return RetrievalScores(*(column[back].cpu() for column in _from_ranks(ranks)))


def _from_ranks(ranks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """R@1, R@2, AP and AP@R of queries, from the (B, R) ranks of the items of their classes, -1 for padding."""
    none = torch.iinfo(ranks.dtype).max
    ranks = ranks.masked_fill(ranks < 0, none).sort(1).values
    there, hits = ranks < none, torch.arange(1, ranks.shape[1] + 1, device=ranks.device)
    positives = there.sum(1)
    precision = torch.where(there, hits / (ranks.double() + 1), 0.0)
    return _columns(ranks[:, 0] < 1, ranks[:, 0] < 2, precision, ranks < positives[:, None], positives)


def _columns(
    first: Tensor, second: Tensor, precision: Tensor, within_r: Tensor, positives: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """R@1, R@2, AP and AP@R of queries, NaN without positives.

    Args:
        first: (B,) true if the nearest item is a positive.
        second: (B,) true if one of the two nearest items is a positive.
        precision: (B, ...) precision at the rank of each positive, 0 elsewhere.
        within_r: (B, ...) true if the rank of the positive is among the first R.
        positives: (B,) number of positives, R.
    """
    count, lonely = positives.double().where(positives > 0, torch.nan), torch.where(positives > 0, 0.0, torch.nan)
    return (
        first.double() + lonely,
        second.double() + lonely,
        precision.sum(1) / count,
        (precision * within_r).sum(1) / count,
    )


def _sorted(embeddings: Tensor, labels: Tensor, queries: Tensor) -> RetrievalScores:
    """Score from whole sorted lists."""
    directions = unit64(embeddings)
    blocks = [_score_block(directions, labels, rows) for rows in queries.split(BLOCK)]
    return RetrievalScores(*(torch.cat(column).cpu() for column in zip(*blocks, strict=True)))


def _score_block(directions: Tensor, labels: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    relevant = _relevance_in_order(directions, labels, rows)
    positives = relevant.sum(1)
    hits = relevant.cumsum(1, dtype=torch.int32)
    rank = torch.arange(1, relevant.shape[1] + 1, device=relevant.device)
    precision = torch.where(relevant, hits / rank.double(), 0.0)
    return _columns(relevant[:, 0], relevant[:, :2].any(1), precision, rank <= positives[:, None], positives)


def _relevance_in_order(directions: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
    """(B, N - 1) bool: the gallery, nearest first and without the query, has the query's class.

    Distance, index and relevance are packed into one integer. Sorting plain values is several times faster than a sort
    that also returns indices.
    """
    n = len(labels)
    index = torch.arange(n, device=labels.device)
    relevant = labels[rows][:, None] == labels
    packed = (unit_keys(directions[rows], directions) * n + index) * 2 + relevant
    packed.scatter_(1, rows[:, None], torch.iinfo(torch.int64).max)
    if packed.device.type == "cpu":
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # numpy releases the interpreter's lock
            ordered = torch.cat(list(pool.map(_in_order, packed.chunk(torch.get_num_threads()))))
    else:
        ordered = packed.sort(1).values
    return (ordered[:, :-1] & 1).bool()


def _in_order(numbers: Tensor) -> Tensor:
    return torch.from_numpy(np.sort(numbers.numpy(), axis=1))


@dataclass(frozen=True)
class Clusters:
    """Result of k-means.

    Attributes:
        assigned: (N,) cluster of each row.
        iterations: number of iterations. faiss 1.15 stops before `KMEANS_ITERATIONS` when nothing moves.
        error: sum of the squared distances to the centroids; nan if faiss does not report it.
    """

    assigned: np.ndarray
    iterations: int
    error: float

    def nmi(self, labels: Tensor) -> float:
        """Return the normalised mutual information with the (N,) classes, arithmetic normalisation, in [0, 1]."""
        return float(normalized_mutual_info_score(labels.cpu().numpy(), self.assigned))


def class_clusters(embeddings: Tensor, labels: Tensor, *, seed: int, points: int | None = None) -> Clusters:
    """Cluster (N, D) embeddings into as many clusters as classes. `points` as in `kmeans_clusters`."""
    return kmeans_clusters(embeddings, len(labels.unique()), seed=seed, points=points)


def kmeans_clusters(embeddings: Tensor, clusters: int, *, seed: int, points: int | None = None) -> Clusters:
    """Run Lloyd's algorithm of faiss, from one seeded start.

    Args:
        embeddings: (N, D) rows.
        clusters: number of clusters.
        seed: random seed.
        points: most rows a cluster to train on, a random sample; by default all rows. Each row is assigned.
    """
    rows = np.ascontiguousarray(embeddings.cpu().float().numpy())
    kmeans = faiss.Kmeans(
        rows.shape[1],
        clusters,
        niter=KMEANS_ITERATIONS,
        seed=seed % 2**31,
        min_points_per_centroid=1,
        max_points_per_centroid=points or len(rows),
    )
    kmeans.train(rows)
    assigned: np.ndarray = kmeans.index.search(rows, 1)[1][:, 0]
    errors = np.array([] if kmeans.obj is None else kmeans.obj)
    return Clusters(assigned, len(errors), float(errors[-1]) if len(errors) else float("nan"))


def effective_rank(embeddings: Tensor) -> float:
    """Return exp of the entropy of the normalised eigenvalues of the second-moment matrix, in [1, D].

    It is 1 if all embeddings lie on one line through the origin. After Roy and Vetterli, EUSIPCO 2007, with eigenvalues
    (energies) instead of singular values.
    """
    x = embeddings.double()
    # Both products have the same eigenvalues, except zeros; the smaller product is cheaper.
    energy = torch.linalg.eigvalsh(x @ x.T if len(x) < x.shape[1] else x.T @ x).clamp_min(0)
    share = energy / energy.sum()
    return float(torch.special.entr(share).sum().exp())


def mean_cosine(embeddings: Tensor) -> float:
    """Return the mean cosine over all pairs of different rows, in [-1, 1]."""
    x = embeddings.double()
    n = len(x)
    return float((x.sum(0).square().sum() - x.square().sum()) / (n * (n - 1)))
