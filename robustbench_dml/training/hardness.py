"""Hardness of mined triplets, without training."""

from __future__ import annotations

from pathlib import Path

import torch

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.models.checkpoints import load_checkpoint
from robustbench_dml.models.embedder import build_embedder, check_fit
from robustbench_dml.spec.published import FAMILIES
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.training.batches import Batch, PairSampler
from robustbench_dml.training.defense import embed_benign
from robustbench_dml.training.losses import hardness
from robustbench_dml.training.miners import MINERS
from robustbench_dml.utils.progress import Progress
from robustbench_dml.utils.randomness import generator


def sampler_hardness(
    dataset: str,
    *,
    backbone: str | None = None,
    checkpoint: Path | None = None,
    batches: int = 100,
    pairs: int | None = None,
    seed: int = 0,
    data_root: Path | None = None,
) -> list[dict[str, str | float]]:
    """Measure mean and variance of the hardness of each miner's triplets over the same training batches.

    After the table of Zhou and Patel, CVPR 2022, arXiv:2203.01439, over 1000 batches of CUB.

    Raises:
        RbdmlError: unknown names, missing data, or a backbone for other images.
    """
    info, cpu = DATASETS.get(dataset), torch.device("cpu")
    data = load_dataset(dataset, DataPaths(data_root, progress=Progress()))
    if checkpoint is None:
        entry = check_fit(backbone or info.backbone, data.image_shape, dataset)
        model = build_embedder(entry, seed=seed, device=cpu).eval()
    else:
        loaded = load_checkpoint(checkpoint, device=cpu)
        check_fit(loaded.spec.backbone, data.image_shape, dataset)
        model = loaded.embedder
    pair_sampler = PairSampler(data.train.labels, pairs=pairs or FAMILIES[info.family].training.pairs, seed=seed)
    values: dict[str, list[torch.Tensor]] = {miner.letter: [] for miner in MINERS}
    for iteration in range(batches):
        rows = pair_sampler.indices(iteration)
        batch = Batch(data.train.batch(rows), data.train.labels[rows], rows, generator(seed, "triplets", iteration))
        embeddings = embed_benign(model, batch)
        for miner in MINERS:
            triplets = miner.choose(embeddings, batch)
            values[miner.letter].append(hardness(*embeddings[triplets.rows].unbind(1)))
    return [
        {
            "sampler": miner.letter,
            "name": miner.name,
            "mean hardness": round(float(torch.cat(values[miner.letter]).mean()), 4),
            "variance": round(float(torch.cat(values[miner.letter]).var()), 4),
        }
        for miner in MINERS
    ]
