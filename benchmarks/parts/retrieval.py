"""Retrieval metrics at the size of Stanford Online Products: 60,502 x 512 embeddings of 11,316 classes.

The embeddings are random, which is the hardest case: an item is then no nearer to its query than half of the
gallery, and its nearest rivals are dense.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import torch
from measure import Case, Memory, timed
from straightforward import retrieval as plain
from torch import Tensor
from torch.nn import functional as F

from robustbench_dml.retrieval.metrics import KMEANS_ITERATIONS, class_clusters, retrieval_scores

ROUNDS = 1
IMAGES, CLASSES, DIMENSIONS = 60_502, 11_316, 512
ASKED = 256  # queries of the straightforward way


def gallery(device: torch.device) -> tuple[Tensor, Tensor]:
    """Random unit vectors, and classes of 2 to 12 images as SOP has them."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.cat(
        [torch.arange(CLASSES).repeat(2), torch.randint(CLASSES, (IMAGES - 2 * CLASSES,), generator=rng)]
    )
    embeddings = F.normalize(torch.randn(IMAGES, DIMENSIONS, generator=rng), dim=1)
    return embeddings.to(device), labels.to(device)


def metrics(device: torch.device) -> dict[str, float]:
    """Time R@1, R@2, mAP and mAP@R of every image. Returns the memory above the embeddings, too."""
    embeddings, labels = gallery(device)
    memory, queries = Memory(device), torch.arange(IMAGES, device=device)
    seconds = timed(lambda: retrieval_scores(embeddings, labels, queries), device)
    return {"seconds": seconds, "GB above": memory.above}


def products(device: torch.device) -> dict[str, float]:
    """Time all distance products in float32, 1,024 rows at once, without using them."""
    embeddings, _ = gallery(device)
    return {"seconds": timed(lambda: [rows @ embeddings.T for rows in embeddings.split(1024)], device)}


def tiled(device: torch.device) -> dict[str, float]:
    """Time the same products in tiles that stay in the processor's cache."""
    embeddings, _ = gallery(device)

    def work() -> None:
        for rows in embeddings.split(512):
            for columns in embeddings.split(1024):
                torch.mm(rows, columns.T)

    return {"seconds": timed(work, device)}


def straightforward(device: torch.device) -> dict[str, float]:
    """Time some queries one after another, scaled to all. Their scores must equal the package's."""
    embeddings, labels = gallery(device)
    found: list[tuple[float, ...]] = []
    seconds = timed(lambda: found.extend(plain.scores(embeddings, labels, query) for query in range(ASKED)), device)
    ours = retrieval_scores(embeddings, labels, torch.arange(ASKED, device=device))
    other = torch.tensor(found, dtype=torch.float64).T
    differs = max(float((a - b).abs().max()) for a, b in zip(vars(ours).values(), other, strict=True))
    return {"seconds": seconds * IMAGES / ASKED, "largest difference": differs}


def nmi(device: torch.device) -> dict[str, float]:
    """Time the clusters, as many as classes, and their mutual information."""
    embeddings, labels = gallery(device)
    memory = Memory(device)
    seconds = timed(lambda: class_clusters(embeddings, labels, seed=0).nmi(labels), device)
    return {"seconds": seconds, "GB above": memory.above}


def kmeans(device: torch.device) -> dict[str, float]:
    """Time the k-means of faiss alone. Returns its number of iterations, too."""
    points = gallery(torch.device("cpu"))[0].numpy()
    means = faiss.Kmeans(
        DIMENSIONS,
        CLASSES,
        niter=KMEANS_ITERATIONS,
        seed=0,
        min_points_per_centroid=1,
        max_points_per_centroid=len(points),
    )
    return {"seconds": timed(lambda: means.train(np.ascontiguousarray(points)), device), "iterations": len(means.obj)}


CASES: dict[str, Case] = {
    "metrics": metrics,
    "products": products,
    "tiled products": tiled,
    "straightforward": straightforward,
    "nmi": nmi,
    "k-means": kmeans,
}


def rows(found: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Return a row for the metrics and a row for the NMI."""
    ours, clustered = found["metrics"]["seconds"], found["nmi"]["seconds"]
    return [
        {
            "what": "R@1, R@2, mAP, mAP@R",
            "s": ours,
            "straightforward s": found["straightforward"]["seconds"],
            "x faster": found["straightforward"]["seconds"] / ours,
            "limit": "distance products in float32",
            "limit s": found["products"]["seconds"],
            "x limit": ours / found["products"]["seconds"],
            "x tiled limit": ours / found["tiled products"]["seconds"],
            "GB above the embeddings": found["metrics"]["GB above"],
        },
        {
            "what": "NMI",
            "s": clustered,
            "limit": f"faiss's k-means, {found['k-means']['iterations']:.0f} iterations",
            "limit s": found["k-means"]["seconds"],
            "x limit": clustered / found["k-means"]["seconds"],
            "GB above the embeddings": found["nmi"]["GB above"],
        },
    ]
