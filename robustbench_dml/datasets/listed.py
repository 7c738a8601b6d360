"""Data sets given by two lists of image files: checked, and decoded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from robustbench_dml.datasets.base import DataPaths, Dataset, DatasetStatus, Images, Split
from robustbench_dml.datasets.cache import PixelCache, check_room
from robustbench_dml.datasets.images import ImageFiles, ImageList
from robustbench_dml.spec.registry import DATASETS, DatasetInfo
from robustbench_dml.utils.errors import RbdmlError

STORED, SEEN = 256, 224  # sides of the stored square and of the crop for the network


@dataclass(frozen=True)
class Listing:
    """The lists of a data set, and their file."""

    train: ImageList
    test: ImageList
    origin: Path
    notes: tuple[str, ...] = ()  # remarks for the user, a line each


def load_listed(name: str, read: Callable[[DataPaths], Listing], paths: DataPaths) -> Dataset:
    """Read the lists, check their counts, make or open the cache.

    Args:
        name: a registered data set. The lists must match its numbers of classes and images.
        read: finds and reads the lists.
        paths: folders of data.

    Raises:
        RbdmlError: the set is missing, has other counts, or a file is missing or not an image.
    """
    listing = read(paths)
    check_counts(listing, DATASETS.get(name))
    splits, hashes, caches = {}, {}, {}
    for part, images in {"train": listing.train, "test": listing.test}.items():
        images.check_present(name)
        caches[part] = PixelCache(paths.decoded, images, STORED, keep_pixels=paths.cache)
    check_room(paths.decoded, sum(cache.needed for cache in caches.values()), name)
    for part, cache in caches.items():
        images = cache.images
        cache.prepare(name, progress=paths.progress)
        pixels: Images = cache.open() if paths.cache else ImageFiles(images, STORED)
        splits[part], hashes[part] = Split(pixels, images.labels, crop=SEEN), cache.content_hash()
    return Dataset(name, splits["train"], splits["test"], hashes, (*listing.notes, *singleton_classes(listing)))


def listed_status(
    name: str, read: Callable[[DataPaths], Listing], paths: DataPaths, *, verify: bool = False
) -> DatasetStatus:
    """Return the status of a listed set. With `verify`, read the cached pixels again.

    Raises:
        RbdmlError: the set is missing, its lists cannot be read, or cached pixels have changed.
    """
    listing = read(paths)
    states, hashes = [], {}
    for part, images in {"train": listing.train, "test": listing.test}.items():
        images.check_present(name)
        kept, checked = (PixelCache(paths.decoded, images, STORED, keep_pixels=keep) for keep in (True, False))
        found = next((cache for cache in (kept, checked) if cache.complete()), None)
        if found is not None:
            hashes[part] = found.content_hash()
        if verify and found is kept:
            kept.verify()
        states.append("not yet" if found is None else "kept" if found is kept else "checked")
        if found is None and kept.begun():
            states[-1] = "in part"
    decoded = states[0] if states[0] == states[1] else "in part"
    train, test = ((len(images), images.classes) for images in (listing.train, listing.test))
    return DatasetStatus(listing.train.root, train, test, decoded, hashes)


def check_counts(listing: Listing, info: DatasetInfo) -> None:
    """Compare the lists with the published numbers of the data set.

    Raises:
        RbdmlError: another number of classes or images.
    """
    for part, images, classes, count in (
        ("training", listing.train, info.train_classes, info.train_images),
        ("test", listing.test, info.test_classes, info.test_images),
    ):
        if (images.classes, len(images)) != (classes, count):
            raise RbdmlError(
                f"{listing.origin}: lists {len(images):,} {part} images of {images.classes:,} classes and "
                f"'{info.name}' has {count:,} of {classes:,}: get a complete copy of the set"
            )


def singleton_classes(listing: Listing) -> tuple[str, ...]:
    """Return a note for each split with classes of one image: such classes give no pairs and no queries."""
    notes = []
    for part, images, use in (
        ("training", listing.train, "are left out of training"),
        ("test", listing.test, "are in the gallery, but no queries"),
    ):
        _, inverse, count = torch.unique(images.labels, return_inverse=True, return_counts=True)
        lonely = torch.nonzero(count[inverse] == 1).squeeze(1).tolist()
        if lonely:
            example = images.paths[lonely[0]]
            notes.append(f"{len(lonely)} {part} classes have one image and {use}, for instance {example}")
    return tuple(notes)


def split_by_number(root: Path, images: Sequence[tuple[str, int]], *, first_test: int) -> tuple[ImageList, ImageList]:
    """Split images, given as path and class number. Classes from `first_test` on are for testing."""
    train, test = (
        [(path, number) for path, number in images if (number >= first_test) == later] for later in (False, True)
    )
    return image_list(root, train), image_list(root, test)


def image_list(root: Path, images: Sequence[tuple[str, int | str]]) -> ImageList:
    """Make a list from paths and classes. Classes are numbered in sorted order."""
    order = {name: number for number, name in enumerate(sorted({name for _, name in images}))}
    labels = torch.tensor([order[name] for _, name in images], dtype=torch.long)
    return ImageList(root, tuple(path for path, _ in images), labels)
