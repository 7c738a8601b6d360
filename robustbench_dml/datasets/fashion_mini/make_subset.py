"""Makes the embedded subset from the full Fashion-MNIST.

    python -m robustbench_dml.datasets.fashion_mini.make_subset [--data-root FOLDER]

Of each class it takes the 600 training and 150 test images whose pixels have the smallest SHA-256, in the order
of the original files: a stratified choice without a random generator, which anyone can repeat. It prints the
hashes that `datasets/fashion.py` holds.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
from pathlib import Path

import numpy as np
import torch

from robustbench_dml.datasets.base import DataPaths, Split
from robustbench_dml.datasets.fashion import FASHION_MNIST
from robustbench_dml.datasets.idx import FILES, format_idx

PER_CLASS = {"train": 600, "test": 150}


def choose(split: Split, per_class: int) -> np.ndarray:
    """Rows of the subset, in rising order."""
    images = split.images[torch.arange(len(split))].numpy()
    digests = [hashlib.sha256(image.tobytes()).digest() for image in images]
    labels = split.labels.numpy()
    rows = [
        sorted(np.flatnonzero(labels == label), key=lambda row: digests[row])[:per_class] for label in np.unique(labels)
    ]
    return np.sort(np.concatenate(rows))


def main() -> None:
    """Write the four files beside this one and print their hashes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    fashion = FASHION_MNIST.load(DataPaths(arguments.data_root))
    arrays = []
    for name, split in (("train", fashion.train), ("test", fashion.test)):
        rows = choose(split, PER_CLASS[name])
        arrays += [split.images[torch.from_numpy(rows)].squeeze(1).numpy(), split.labels[rows].numpy()]
    for name, array in zip(FILES, arrays, strict=True):
        content = format_idx(array)
        (arguments.out / f"{name}.gz").write_bytes(gzip.compress(content, compresslevel=9, mtime=0))
        print(name, hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    main()
