from __future__ import annotations

import math

import faiss
import numpy as np
import pytest
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.cluster import KMeans
from sklearn.metrics import average_precision_score
from support import unit_rows
from torch import Tensor
from torch.nn import functional as F

from robustbench_dml.retrieval import metrics as retrieval
from robustbench_dml.retrieval.metrics import (
    KMEANS_ITERATIONS,
    class_clusters,
    effective_rank,
    kmeans_clusters,
    mean_cosine,
    retrieval_scores,
)

LABELS = torch.arange(60) % 7


def tied() -> Tensor:
    """Unit vectors of which many are equal, within classes and across."""
    embeddings = unit_rows(60, 4, seed=0)
    embeddings[20:40] = embeddings[:20]
    embeddings[40:47] = embeddings[33:40]
    return embeddings


def naive_order(embeddings: Tensor, query: int) -> list[int]:
    """The gallery without the query, nearest first, ties by index."""
    d = [round(float((embeddings[query] - row).square().sum()), 9) for row in embeddings]
    return sorted((row for row in range(len(d)) if row != query), key=lambda row: (d[row], row))


@pytest.mark.parametrize("embeddings", [unit_rows(60, 4, seed=1), tied()], ids=["random", "tied"])
@pytest.mark.parametrize("few", [0, 64], ids=["sorted", "counted"])
def test_scores_equal_a_loop(monkeypatch: pytest.MonkeyPatch, embeddings: Tensor, few: int) -> None:
    monkeypatch.setattr(retrieval, "FEW", few)
    scores = retrieval_scores(embeddings, LABELS, torch.arange(60))
    for query in range(60):
        relevant = [bool(LABELS[row] == LABELS[query]) for row in naive_order(embeddings, query)]
        positives = sum(relevant)
        precisions = [sum(relevant[: k + 1]) / (k + 1) for k in range(len(relevant)) if relevant[k]]
        at_r = [sum(relevant[: k + 1]) / (k + 1) for k in range(positives) if relevant[k]]
        assert scores.r_at_1[query] == relevant[0]
        assert scores.r_at_2[query] == any(relevant[:2])
        assert math.isclose(scores.ap[query], sum(precisions) / positives, abs_tol=1e-12)
        assert math.isclose(scores.ap_at_r[query], sum(at_r) / positives, abs_tol=1e-12)


def test_counting_and_sorting_come_to_the_same_for_classes_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some have one image, and not every image is a query."""
    labels = torch.cat([torch.arange(20), torch.arange(12).repeat(3), torch.full((9,), 5)])
    embeddings, queries = unit_rows(len(labels), 8, seed=3), torch.randperm(len(labels))[:50]
    counted = retrieval_scores(embeddings, labels, queries)
    monkeypatch.setattr(retrieval, "FEW", 0)
    ordered = retrieval_scores(embeddings, labels, queries)
    for name, values in vars(counted).items():
        assert torch.allclose(values, getattr(ordered, name), atol=1e-12, equal_nan=True), name
    assert bool(counted.ap.isnan().any())


def ties_within_classes() -> Tensor:
    """Equal vectors share a class, so that no way of breaking ties changes a metric."""
    embeddings = unit_rows(60, 4, seed=2)
    embeddings[7:49] = embeddings[:42].clone()  # 7 classes in turn: row 7 + k has the class of row k
    return embeddings


@pytest.mark.parametrize("embeddings", [unit_rows(60, 4, seed=1), ties_within_classes()], ids=["random", "tied"])
def test_scores_equal_pytorch_metric_learning(embeddings: Tensor) -> None:
    scores = retrieval_scores(embeddings, LABELS, torch.arange(60))
    calculator = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision", "mean_average_precision_at_r"),
        k=59,
        device=torch.device("cpu"),
    )
    theirs = calculator.get_accuracy(embeddings.float(), LABELS, embeddings.float(), LABELS, ref_includes_query=True)
    assert math.isclose(scores.r_at_1.mean(), theirs["precision_at_1"], abs_tol=1e-6)
    assert math.isclose(scores.ap.mean(), theirs["mean_average_precision"], abs_tol=1e-6)
    assert math.isclose(scores.ap_at_r.mean(), theirs["mean_average_precision_at_r"], abs_tol=1e-6)


def test_average_precision_equals_scikit_learn() -> None:
    embeddings = unit_rows(60, 4, seed=3)
    scores = retrieval_scores(embeddings, LABELS, torch.arange(60))
    for query in range(60):
        rest = torch.arange(60) != query
        similarity = embeddings[rest] @ embeddings[query]
        expected = average_precision_score((LABELS == LABELS[query])[rest].numpy(), similarity.numpy())
        assert math.isclose(scores.ap[query], expected, abs_tol=1e-9)


def test_equal_embeddings_do_not_hide_the_query_itself() -> None:
    """Where all rows are equal the nearest is the first by index, never the query's own row."""
    embeddings = unit_rows(1, 4, seed=0).repeat(6, 1)
    labels = torch.tensor([0, 1, 1, 1, 0, 1])
    assert retrieval_scores(embeddings, labels, torch.arange(6)).r_at_1.tolist() == [0, 0, 0, 0, 1, 0]


def test_a_query_alone_in_its_class_has_no_score() -> None:
    labels = torch.tensor([0, 0, 1])
    scores = retrieval_scores(unit_rows(3, 4, seed=0), labels, torch.arange(3))
    for values in (scores.r_at_1, scores.r_at_2, scores.ap, scores.ap_at_r):
        assert values.isnan().tolist() == [False, False, True]


def test_a_part_of_the_queries_has_the_same_scores() -> None:
    embeddings, part = tied(), torch.tensor([3, 17, 58])
    whole = retrieval_scores(embeddings, LABELS, torch.arange(60))
    some = retrieval_scores(embeddings, LABELS, part)
    assert torch.equal(some.ap, whole.ap[part])
    assert torch.equal(some.r_at_2, whole.r_at_2[part])


@pytest.mark.parametrize("embeddings", [unit_rows(60, 4, seed=1), tied()], ids=["random", "tied"])
def test_nmi_equals_pytorch_metric_learning_on_the_same_clusters(embeddings: Tensor) -> None:
    clusters = kmeans_clusters(embeddings, 7, seed=5)
    calculator = AccuracyCalculator(
        include=("NMI",), kmeans_func=lambda *_: torch.from_numpy(clusters.assigned), device=torch.device("cpu")
    )
    theirs = calculator.get_accuracy(embeddings.float(), LABELS)["NMI"]
    assert math.isclose(class_clusters(embeddings, LABELS, seed=5).nmi(LABELS), theirs, abs_tol=1e-9)


def test_nmi_is_one_for_separated_classes_and_reproducible() -> None:
    centres = torch.eye(7).double()[LABELS]
    separated = F.normalize(centres + 0.01 * unit_rows(60, 7, seed=6), dim=1)
    values = [class_clusters(separated, LABELS, seed=seed).nmi(LABELS) for seed in range(5)]
    assert max(values) == pytest.approx(1)
    assert values == [class_clusters(separated, LABELS, seed=seed).nmi(LABELS) for seed in range(5)]


def test_the_iterations_of_k_means_are_reported() -> None:
    """Two separated clusters settle at once, and none takes more than it may."""
    points = F.normalize(torch.eye(2).double()[torch.arange(60) % 2] + 0.01 * unit_rows(60, 2, seed=8), dim=1)
    few, many = (kmeans_clusters(each, 2, seed=0).iterations for each in (points, unit_rows(400, 8, seed=9)))
    assert 1 <= few <= many <= KMEANS_ITERATIONS


def test_clusters_are_as_tight_as_scikit_learns() -> None:
    points = unit_rows(400, 8, seed=7).numpy()

    def spread(clusters: np.ndarray) -> float:
        return sum(((points[clusters == c] - points[clusters == c].mean(0)) ** 2).sum() for c in np.unique(clusters))

    ours = [kmeans_clusters(torch.from_numpy(points), 6, seed=seed) for seed in range(5)]
    for clusters in ours:  # faiss tells the error before the last step moves the centroids
        assert spread(clusters.assigned) <= clusters.error * (1 + 1e-5)
        assert clusters.error == pytest.approx(spread(clusters.assigned), rel=0.02)
    least = min(spread(clusters.assigned) for clusters in ours)
    assert least <= 1.02 * KMeans(6, n_init=5, random_state=0).fit(points).inertia_


def test_effective_rank_counts_directions() -> None:
    assert effective_rank(unit_rows(1, 8, seed=0).repeat(9, 1)) == pytest.approx(1)
    assert effective_rank(torch.eye(8).repeat(3, 1)[:, :5][torch.arange(24) % 8 < 5]) == pytest.approx(5)


def test_effective_rank_weighs_directions_by_energy() -> None:
    """Shares of 3/4 and 1/4: the exponential of their entropy."""
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert effective_rank(torch.eye(8)[[0, 0, 0, 5]]) == pytest.approx(expected)


def test_mean_cosine_equals_a_loop() -> None:
    embeddings = unit_rows(12, 5, seed=0)
    pairs = [float(embeddings[i] @ embeddings[j]) for i in range(12) for j in range(12) if i != j]
    assert mean_cosine(embeddings) == pytest.approx(sum(pairs) / len(pairs))


def test_clusters_of_a_sample_still_take_every_row() -> None:
    """As faiss does by default, with 256 rows a cluster."""
    rows = unit_rows(600, 8, seed=1)
    ours = kmeans_clusters(rows, 2, seed=3, points=256)
    theirs = faiss.Kmeans(8, 2, niter=50, seed=3, min_points_per_centroid=1)
    theirs.train(rows.numpy())
    assert ours.assigned.tolist() == theirs.index.search(rows.numpy(), 1)[1][:, 0].tolist()
    whole = kmeans_clusters(rows, 2, seed=3)
    assert len(ours.assigned) == len(whole.assigned) == 600
    assert ours.error != whole.error  # summed over the rows that it trained on
