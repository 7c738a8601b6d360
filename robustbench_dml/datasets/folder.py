"""Any folder of class folders: `folder:PATH`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from robustbench_dml.datasets.base import DataPaths, expanded
from robustbench_dml.datasets.images import ImageList
from robustbench_dml.datasets.listed import Listing, image_list, listed_status, load_listed
from robustbench_dml.spec.registry import DATASETS, DatasetInfo, Scheme
from robustbench_dml.utils.errors import RbdmlError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}


def read(folder: Path, _: DataPaths | None = None) -> Listing:
    """List the images of a folder of class folders.

    The first half of the classes, by name, is for training, the rest for testing. A folder that holds only `train/` and
    `test/`, each with class folders, is split by these two folders.

    Raises:
        RbdmlError: no such folder, or fewer than two classes in a part.
    """
    classes = _subfolders(folder)
    if [path.name for path in classes] == ["test", "train"]:
        test, train = (_subfolders(path) for path in classes)
    else:
        half = (len(classes) + 1) // 2
        train, test = classes[:half], classes[half:]
    listing = Listing(_images(folder, train), _images(folder, test), origin=folder / "*")
    for part, images in (("training", listing.train), ("test", listing.test)):
        if len(images) == 0 or images.classes < 2:
            raise RbdmlError(
                f"{folder}: {images.classes} {part} classes with images: put at least four class folders with images "
                "into it, or train/ and test/ with at least two each"
            )
    return listing


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise RbdmlError(
            f"{folder}: cannot be read ({error.strerror}): give folder:PATH of a folder of class folders"
        ) from None


def _images(root: Path, classes: list[Path]) -> ImageList:
    found = [
        (path.relative_to(root).as_posix(), folder.name)
        for folder in classes
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)  # such as .ipynb_checkpoints/
    ]
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
