"""Any folder of class folders: `folder:PATH`."""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from pathlib import Path

from robustbench_dml.datasets.base import DataPaths, expanded
from robustbench_dml.datasets.images import ImageList
from robustbench_dml.datasets.listed import Listing, image_list, listed_status, load_listed
from robustbench_dml.spec.registry import DATASETS, DatasetInfo, Scheme
from robustbench_dml.utils.errors import RbdmlError

SUFFIXES = {".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
JUNK = {"__MACOSX", "lost+found", "$RECYCLE.BIN", "System Volume Information", "@eaDir"}
PARTS = {"train", "test", "val", "valid", "validation", "query", "gallery"}


def read(folder: Path, _: DataPaths | None = None) -> Listing:
    """List the images of a folder of class folders.

    The first half of the classes, by name, is for training, the rest for testing. A folder that holds only `train/` and
    `test/`, each with class folders, is split by these two folders. Folders of the system are ignored.

    Raises:
        RbdmlError: no such folder, fewer than two classes in a part, a mixture of parts and classes, or a path that is
            not UTF-8.
    """
    classes = _subfolders(folder)
    parts = sorted(path.name for path in classes if path.name.lower() in PARTS)
    if [path.name.lower() for path in classes] == ["test", "train"]:
        test, train = (_subfolders(path) for path in classes)
    elif len(parts) > 1:
        raise RbdmlError(f"{folder}: holds {', '.join(parts)}: keep train/ and test/ alone, or class folders alone")
    else:
        half = (len(classes) + 1) // 2
        train, test = classes[:half], classes[half:]
    left_out: Counter[str] = Counter()
    seen, unseen = (_images(folder, part, left_out) for part in (train, test))
    listing = Listing(seen, unseen, origin=folder / "*", notes=(_taken(seen, unseen, left_out),))
    for part, images in (("training", listing.train), ("test", listing.test)):
        if len(images) == 0 or images.classes < 2:
            raise RbdmlError(
                f"{folder}: {images.classes} {part} classes with images: put at least four class folders with images "
                "into it, or train/ and test/ with at least two each"
            )
    for text in (str(folder), *listing.train.paths, *listing.test.paths):
        if not text.isascii() and text.encode(errors="replace").decode() != text:
            raise RbdmlError(f"{os.fsencode(text)!r}: a path that is not UTF-8: rename it")
    return listing


def _taken(train: ImageList, test: ImageList, left_out: Counter[str]) -> str:
    """Return the images of both parts, and the files left out by type, in one line."""
    parts = [
        f"{images.classes} {part} classes, {images.paths[0]} to {images.paths[-1]}"
        for part, images in (("training", train), ("test", test))
        if images.paths
    ]
    rest = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in sorted(left_out.items()))
    return "; ".join([*parts, *([f"left out: {rest}"] if rest else [])])


def _subfolders(folder: Path) -> list[Path]:
    try:
        folders = [path for path in folder.iterdir() if path.is_dir() and path.name not in JUNK]
    except OSError as error:
        raise RbdmlError(
            f"{folder}: cannot be read ({error.strerror}): give folder:PATH of a folder of class folders"
        ) from None
    return sorted(path for path in folders if not path.name.startswith("."))


def _images(root: Path, classes: list[Path], left_out: Counter[str]) -> ImageList:
    """List the images of class folders, and count the suffixes of other files."""
    found = []
    for folder in classes:
        for path in sorted(folder.rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)  # such as .ipynb_checkpoints/
            if hidden or path.is_dir():
                continue
            if path.suffix.lower() in SUFFIXES:
                found.append((path.relative_to(root).as_posix(), folder.name))
            else:
                left_out[path.suffix.lower()] += 1
    return image_list(root, found)


def info_of(text: str) -> DatasetInfo:
    """Return the entry of `folder:PATH`.

    Raises:
        RbdmlError: the errors of `read`.
    """
    folder = expanded(text).resolve()  # same name from any working folder
    name = f"folder:{folder}"
    listing = read(folder)
    return DatasetInfo(
        name=name,
        summary=f"{listing.train.classes} / {listing.test.classes} classes of {folder}",
        paper="user data",
        family="rgb224",
        backbone="resnet18",
        train_images=len(listing.train),
        test_images=len(listing.test),
        train_classes=listing.train.classes,
        test_classes=listing.test.classes,
        load=partial(load_listed, name, partial(read, folder)),
        status=partial(listed_status, name, partial(read, folder)),
    )


DATASETS.add_scheme(
    Scheme(
        name="folder:PATH",
        summary="any folder of class folders; the first half of the classes by name is for training",
        paper="user data",
        make=info_of,
    )
)
