"""Retrieval without training, as a baseline for trained models."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml.datasets.base import DataPaths, Dataset
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.evaluation.context import embed
from robustbench_dml.evaluation.evaluate import choose_queries
from robustbench_dml.models.embedder import build_embedder, check_fit
from robustbench_dml.models.pretrained import find_weights
from robustbench_dml.retrieval.metrics import retrieval_scores
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.spec.schema import Evaluation, Threat
from robustbench_dml.spec.weights import initial_digits

COARSE = 32  # side of reduced images; the pixels of 60,000 images of 224x224 would take 36 GB
MEAN_OF = 1000  # training images in the mean image
Row = dict[str, str | float]


class Pixels(nn.Module):
    """Embeds an image as its pixels, reduced to 32x32, minus the mean training image."""

    mean: Tensor

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images to (B, C H W) unit vectors."""
        small = F.adaptive_avg_pool2d(images, min(COARSE, images.shape[-1])) - self.mean
        return F.normalize(small.flatten(1), dim=1)


def untrained(
    dataset: str,
    *,
    backbone: str | None = None,
    weights: Path | None = None,
    pretrained: bool | None = None,
    queries: int | None = None,
    seed: int = 0,
    device: torch.device,
    paths: DataPaths,
) -> list[Row]:
    """Measure benign retrieval by raw pixels, by random weights and by published weights.

    The last layer of a network is random in both cases.

    Args:
        dataset: name of the data set, whose test images are used.
        backbone: name of the network; by default the data set's.
        weights: a file to use instead of the published weights.
        pretrained: include published weights; by default if the backbone has any.
        queries: number of queries, drawn with the seed; None uses all.
        seed: seed of random weights and of the choice of queries.
        device: the device to compute on.
        paths: folders of the data sets.

    Returns:
        A row for each embedding, with R@1, R@2, mAP and mAP@R in per cent.

    Raises:
        RbdmlError: unknown names, missing data or weights.
    """
    info = DATASETS.get(dataset)
    data = load_dataset(dataset, paths)
    network = check_fit(backbone or info.backbone, data.image_shape, dataset)
    first = initial_digits(network, pretrained=pretrained, weights=weights, default=network.weights is not None)
    models: dict[str, nn.Module] = {
        "pixels": pixels_of(data),
        f"{network.name}, random weights": build_embedder(network, seed=seed, device=device),
    }
    if first is not None:
        path = find_weights(network, first, weights=weights, progress=paths.progress)
        models[f"{network.name}, weights {first}"] = build_embedder(network, seed=seed, device=device, weights=path)
    chosen = Evaluation(protocol="ers", threat=Threat(eps=0, alpha=0, steps=0), queries=queries, seed=seed)
    rows = choose_queries(data.test.labels, chosen, dataset).to(device)
    return [{"embedding": name, **_retrieval(model, data, rows, device)} for name, model in models.items()]


def pixels_of(data: Dataset) -> Pixels:
    """The pixels of images as an embedding, with the mean of a data set's training images taken off."""
    rows = torch.arange(0, len(data.train), max(1, len(data.train) // MEAN_OF))
    total = torch.stack([data.train.batch(block).sum(0) for block in rows.split(256)]).sum(0)
    mean = (total / len(rows))[None]
    return Pixels(F.adaptive_avg_pool2d(mean, min(COARSE, mean.shape[-1])))


def _retrieval(model: nn.Module, data: Dataset, queries: Tensor, device: torch.device) -> dict[str, float]:
    split = data.test.to(device)
    scores = retrieval_scores(embed(model.to(device).eval(), split, device=device), split.labels, queries)
    values = {"R@1": scores.r_at_1, "R@2": scores.r_at_2, "mAP": scores.ap, "mAP@R": scores.ap_at_r}
    return {name: round(100 * float(value.mean()), 2) for name, value in values.items()}
