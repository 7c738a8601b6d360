"""What the tests of cache share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from image_trees import write_image

from robustbench_dml.datasets.cache import PixelCache
from robustbench_dml.datasets.images import Decoded, ImageList, decode
from robustbench_dml.utils.progress import Progress

SIDE = 8


NAMES = ("b/0.jpg", "b/1.jpg", "a/0.jpg", "a/1.jpg", "c/0.png", "c/1.png", "d/0.jpg")


ROW_BYTES = 3 * SIDE * SIDE


QUIET = Progress(quiet=True)


@dataclass(frozen=True)
class Hearing(Progress):
    """Keeps what is said."""

    heard: list[str] = field(default_factory=list)
    answer: Callable[[], object] = lambda: None

    def say(self, message: str) -> None:
        self.heard.append(message)
        self.answer()


@dataclass
class Decoding:
    """Stands for `decode`: lists what is decoded, and fails at one file."""

    names: list[str] = field(default_factory=list)
    fails_at: str = ""
    error: BaseException = field(default_factory=KeyboardInterrupt)

    def __call__(self, path: Path, side: int) -> Decoded:
        name = f"{path.parent.name}/{path.name}"
        if name == self.fails_at:
            raise self.error
        self.names.append(name)
        return decode(path, side)


def cache_of(images: ImageList, *, side: int = SIDE, keep_pixels: bool = True) -> PixelCache:
    return PixelCache(images.root.parent / "cache", images, side, keep_pixels=keep_pixels)


def prepared(images: ImageList, *, keep_pixels: bool = True) -> PixelCache:
    cache = cache_of(images, keep_pixels=keep_pixels)
    cache.prepare("birds", progress=QUIET)
    return cache


def all_rows(cache: PixelCache) -> torch.Tensor:
    return cache.open()[torch.arange(cache.shape[0])]


def pixel_file(cache: PixelCache) -> Path:
    return cache.folder / "pixels.u8"


def index_file(cache: PixelCache) -> Path:
    return cache.folder / "index.json"


def change(path: Path, *seed: int) -> None:
    """Other pixels, and another time in case the size is the same."""
    before = path.stat().st_mtime_ns
    write_image(path, *seed)
    os.utime(path, ns=(before + 1, before + 1))
