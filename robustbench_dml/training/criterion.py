"""A loss of pytorch-metric-learning in training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustbench_dml.spec.losses import build_loss, build_miner
from robustbench_dml.spec.schema import LossSpec
from robustbench_dml.training.batches import Batch
from robustbench_dml.utils.randomness import seed_of


class Criterion(nn.Module):
    """A loss on the embeddings of a whole batch. Its parameters are the proxies, which need no network."""

    classes: Tensor

    def __init__(self, loss: LossSpec, labels: Tensor, *, dimension: int, seed: int) -> None:
        """
        Args:
            loss: the loss.
            labels: (N,) classes of the training images.
            dimension: D, of the embeddings.
            seed: the run's seed, from which proxies are drawn.

        Raises:
            RbdmlError: PML refuses a parameter.
        """
        super().__init__()
        self.register_buffer("classes", labels.unique(), persistent=False)  # sorted
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(seed, "loss", loss.name))
            self.loss = build_loss(loss, classes=len(self.classes), dimension=dimension)
        self.miner = None if loss.miner is None else build_miner(loss.miner)

    def forward(self, embeddings: Tensor, batch: Batch) -> Tensor:
        """Return the loss () of the (2P, D) embeddings of a batch. PML numbers the training classes from 0.

        Miners draw from torch's global generator, which the trainer seeds.
        """
        labels = torch.searchsorted(self.classes, batch.labels)
        mined = None if self.miner is None else self.miner(embeddings, labels)
        value: Tensor = self.loss(embeddings, labels, mined)
        return value
