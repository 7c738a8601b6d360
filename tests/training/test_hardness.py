from __future__ import annotations

import numpy as np
import torch

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.models.embedder import build_embedder
from robustbench_dml.spec.registry import BACKBONES, DATASETS
from robustbench_dml.training.batches import Batch, PairSampler
from robustbench_dml.training.hardness import sampler_hardness
from robustbench_dml.training.miners import hardest_triplets
from robustbench_dml.utils.randomness import generator


def test_hardness_by_sampler_equals_a_loop_and_is_ordered() -> None:
    rows = {row["sampler"]: row for row in sampler_hardness("glyphs-mini", batches=3, pairs=24, seed=2)}
    mean = {str(letter): float(row["mean hardness"]) for letter, row in rows.items()}
    assert list(rows) == ["R", "M", "S", "D", "H"]
    assert mean["M"] < mean["H"]
    assert mean["R"] < mean["S"] < mean["H"]

    data = DATASETS.get("glyphs-mini").load(DataPaths()).train
    model = build_embedder(BACKBONES.get("c2f2"), seed=2, device=torch.device("cpu"))
    stream, found = PairSampler(data.labels, pairs=24, seed=2), []
    for iteration in range(3):
        indices = stream.indices(iteration)
        batch = Batch(data.batch(indices), data.labels[indices], indices, generator(0))
        e = model(batch.images).detach()
        t = hardest_triplets(e, batch)
        found += [
            float((e[a] - e[p]).norm() - (e[a] - e[n]).norm())
            for a, p, n in zip(t.anchor, t.positive, t.negative, strict=True)
        ]
    assert abs(mean["H"] - np.mean(found)) < 1e-4
    assert abs(float(rows["H"]["variance"]) - np.var(found, ddof=1)) < 1e-4
