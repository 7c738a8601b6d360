"""The slow versions that the benchmarks measure against do the same work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustbench_dml.models.embedder import Embedder
from robustbench_dml.retrieval.metrics import retrieval_scores
from robustbench_dml.spec.parameters import build_defense
from robustbench_dml.spec.schema import Threat
from robustbench_dml.training.batches import Batch
from robustbench_dml.utils.randomness import generator

THREAT = Threat(eps=0.2, alpha=0.05, steps=3)


def embedder() -> Embedder:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 6 * 6, 16))
    made = Embedder(network, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.2)).double()
    made.frozen_batchnorm = True
    return made


def batch() -> Batch:
    rng = torch.Generator().manual_seed(1)
    labels = torch.tensor([0, 1, 2, 0, 1, 2]).repeat(2)
    images = torch.rand(12, 3, 8, 8, generator=rng, dtype=torch.float64)
    return Batch(images, labels, torch.arange(12), generator(0, "test"))


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    model.zero_grad()
    loss.backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", ["regular", "act", "hm-lga-ics"])
def test_an_iteration_has_the_weight_gradients_of_the_package(name: str) -> None:
    from straightforward import training as plain  # type: ignore[import-not-found]
    from straightforward.model import Plain  # type: ignore[import-not-found]

    params: dict[str, Any] = {"destination": "0.3", "ics": 0.5} if name == "hm-lga-ics" else {}
    defense, model, data = build_defense(name, params, THREAT), embedder(), batch()
    model.eval()
    with torch.no_grad():
        perturbed = defense.perturb(model, data)
    ours = gradients(model, defense.loss(model.train(), data, perturbed))

    slow, threat = Plain(embedder()), plain.Settings(THREAT.eps, THREAT.alpha, THREAT.steps)
    rows = perturbed.triplets.rows
    losses = {
        "regular": lambda: plain.regular(slow, data.images, rows),
        "act": lambda: plain.act(slow, data.images, rows, threat),
        "hm-lga-ics": lambda: plain.hm_ics(slow, data.images, rows, threat, destination=0.3, weight=0.5),
    }
    theirs = gradients(slow, losses[name]())
    assert len(ours) == len(theirs) == 6
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-10, rtol=1e-8)


def test_mining_one_anchor_after_another_follows_the_rules() -> None:
    from straightforward.training import (  # type: ignore[import-not-found]
        random_triplets,
        softhard_triplets,
    )

    data, embeddings = batch(), torch.randn(12, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for triplets in (random_triplets(data.labels), softhard_triplets(data.labels, embeddings)):
        anchor, positive, negative = triplets.unbind(1)
        assert anchor.tolist() == list(range(6))
        assert bool((data.labels[positive] == data.labels[anchor]).all() and (positive != anchor).all())
        assert bool((data.labels[negative] != data.labels[anchor]).all())


def test_retrieval_scores_one_query_after_another_are_the_packages() -> None:
    from straightforward.retrieval import scores  # type: ignore[import-not-found]

    rng = torch.Generator().manual_seed(0)
    embeddings = torch.nn.functional.normalize(torch.randn(80, 8, generator=rng, dtype=torch.float64), dim=1)
    labels = torch.arange(80) % 9
    ours = retrieval_scores(embeddings, labels, torch.arange(80))
    theirs = torch.tensor([scores(embeddings, labels, query) for query in range(80)], dtype=torch.float64)
    for column, values in zip(theirs.T, vars(ours).values(), strict=True):
        assert torch.allclose(column, values, atol=1e-6)
