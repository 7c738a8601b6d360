"""`emoji`: colour images of unseen classes that anybody can have, in the place of product photographs.

A class is one emoji, its images are the drawings of several open sets. See `emoji_set/` for how they are made.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from robustbench_dml.datasets.base import Dataset, Order, Roots
from robustbench_dml.datasets.emoji_set import TEST_CLASSES, TEST_IMAGES, TRAIN_CLASSES, TRAIN_IMAGES
from robustbench_dml.datasets.emoji_set.prepare import canvas, prepare
from robustbench_dml.datasets.images import ImageList
from robustbench_dml.datasets.listed import Listing, image_list, load_listed, look_at_listed
from robustbench_dml.datasets.lists import inside
from robustbench_dml.errors import MissingDataError, RbdmlError
from robustbench_dml.registry import DATASETS, DatasetInfo, Scheme, register_dataset

INDEX, SIZE = "index.json", 64
SMALL = 128  # below this side the network is the one for small images


def place(size: int) -> str:
    """The folder of the drawings of one size, below a data folder."""
    return f"emoji/{size}"


def read(size: int, roots: Roots) -> Listing:
    """The lists that were written when the drawings were made.

    Raises:
        RbdmlError: they were not made in this size, or their index is damaged.
    """
    places = [root / place(size) for root in roots.folders] + [root for root in roots.folders if root.name == str(size)]
    folder = next((folder for folder in places if (folder / INDEX).is_file()), None)
    if folder is None:
        looked = ", ".join(str(folder) for folder in places)
        raise MissingDataError(
            f"data set 'emoji' is not on this machine in size {size} (looked in {looked}): make it by "
            f"`rbdml data prepare emoji --size {size}`"
        )
    try:
        index = json.loads((folder / INDEX).read_bytes())
        train, test = (_list(folder, index[part]) for part in ("train", "test"))
        if index["size"] != size:
            raise ValueError(f"of size {index['size']}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RbdmlError(f"{folder / INDEX}: damaged ({error}): remove {folder} and prepare 'emoji' again") from None
    return Listing(train, test, origin=folder / INDEX)


def _list(folder: Path, rows: list[tuple[str, str]]) -> ImageList:
    return image_list(folder, [(inside(path, folder / INDEX), name) for path, name in rows])


def info_of(text: str, *, name: str | None = None) -> DatasetInfo:
    """The entry of `emoji:SIZE`.

    Raises:
        RbdmlError: not a size.
    """
    if not text.isdecimal() or len(text) > 4:
        raise RbdmlError(f"'emoji:{text}' is no size: write for instance emoji:224")
    size = int(text)
    if size == SIZE and name is None:
        return DATASETS.get("emoji")
    name = name or f"emoji:{size}"

    def load(roots: Roots) -> Dataset:
        return load_listed(name, partial(read, size), roots, stored=canvas(size), seen=size)

    def make(roots: Roots, order: Order) -> Path:
        target = roots.folders[0] / place(size)
        if order.urls:
            raise RbdmlError("'emoji' comes from npm packages: leave --url out, or give their .tgz files by --from")
        if not (target / INDEX).is_file():
            prepare(target, size=size, source=order.source, progress=roots.progress)
        return target

    return DatasetInfo(
        name=name,
        summary=f"drawings of {TRAIN_CLASSES} / {TEST_CLASSES} emoji by open sets, {TRAIN_IMAGES:,} / {TEST_IMAGES:,} "
        f"colour images of side {size}",
        paper="open emoji sets, see its LICENSES.md",
        family="rgb64" if size < SMALL else "rgb224",
        backbone="resnet18-small" if size < SMALL else "resnet18",
        train_images=TRAIN_IMAGES,
        test_images=TEST_IMAGES,
        train_classes=TRAIN_CLASSES,
        test_classes=TEST_CLASSES,
        load=load,
        look=partial(look_at_listed, name, partial(read, size), stored=canvas(size)),
        prepare=make,
    )


register_dataset(info_of(str(SIZE), name="emoji"))
DATASETS.add_scheme(
    Scheme(
        name="emoji:SIZE",
        summary="the same drawings in another size, for instance emoji:224",
        paper="open emoji sets, see its LICENSES.md",
        make=info_of,
    )
)
