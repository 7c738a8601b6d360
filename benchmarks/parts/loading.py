"""A training batch of photographs: 112 JPEGs of 500 x 375 to random crops of 224."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import Case, fastest, timed
from PIL import Image
from straightforward import loading as plain

from robustbench_dml.datasets.base import Split
from robustbench_dml.datasets.cache import PixelCache
from robustbench_dml.datasets.images import ImageFiles, ImageList
from robustbench_dml.datasets.prefetch import prefetch, with_prefetch
from robustbench_dml.utils.progress import Progress

ROUNDS = 1
BATCH, FILES = 112, 448


def photographs(folder: Path) -> ImageList:
    """Write noise that is smooth enough to compress like photographs."""
    rng = np.random.default_rng(0)
    names = []
    for number in range(FILES):
        small = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        fine = rng.integers(-12, 13, (375, 500, 3))
        pixels = np.asarray(small.resize((500, 375), Image.Resampling.BICUBIC)) + fine
        names.append(f"{number}.jpg")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / names[-1], quality=90)
    return ImageList(folder, tuple(names), torch.arange(FILES) // 4)


def straightforward(device: torch.device) -> dict[str, float]:
    """Decode one file after another with torchvision's transforms."""
    with tempfile.TemporaryDirectory() as name:
        images = photographs(Path(name))
        paths = [images.root / path for path in images.paths[:BATCH]]
        return {"seconds": fastest(lambda: plain.batch(paths).to(device), device)}


def decoded(device: torch.device) -> dict[str, float]:
    """Decode the files of every batch on all cores (`--no-cache`)."""
    with tempfile.TemporaryDirectory() as name:
        images = photographs(Path(name))
        split = Split(ImageFiles(images, 256), images.labels.to(device), crop=224)
        return {"seconds": _batches(split, device)}


def cached(device: torch.device) -> dict[str, float]:
    """Decode the files once and read batches from the cache."""
    with tempfile.TemporaryDirectory() as name:
        images = photographs(Path(name))
        cache = PixelCache(Path(name) / "cache", images, 256)
        once = timed(lambda: cache.prepare("photographs", progress=Progress(quiet=True)), device)
        split = Split(cache.open(), images.labels.to(device), crop=224)
        return {"seconds": _batches(split, device), "once, an image": once / FILES}


def ahead(device: torch.device) -> dict[str, float]:
    """Read a batch while the network works on the one before; returns the remaining wait."""
    with tempfile.TemporaryDirectory() as name:
        images = photographs(Path(name))
        split = with_prefetch(Split(ImageFiles(images, 256), images.labels.to(device), crop=224))
        rows, rng, spent = torch.arange(BATCH), torch.Generator().manual_seed(0), []
        for _ in range(3):
            prefetch(split, rows)
            assert split.images._coming is not None  # type: ignore[union-attr]
            split.images._coming[1].result()  # type: ignore[union-attr]
            spent.append(timed(lambda: split.augmented(rows, rng), device))
        return {"seconds": min(spent)}


def _batches(split: Split, device: torch.device) -> float:
    rows, rng = torch.arange(BATCH), torch.Generator().manual_seed(0)
    return fastest(lambda: split.augmented(rows, rng), device)


CASES: dict[str, Case] = {
    "straightforward": straightforward,
    "decoded each time": decoded,
    "decoded once": cached,
    "read ahead": ahead,
}


def rows(found: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Return a row for each way."""
    slow = found["straightforward"]["seconds"]
    return [
        {
            "batch of 112": name,
            "ms": 1000 * value["seconds"],
            "images/s": BATCH / value["seconds"],
            "x faster": slow / value["seconds"],
            "once, ms an image": 1000 * value["once, an image"] if "once, an image" in value else None,
        }
        for name, value in found.items()
    ]
