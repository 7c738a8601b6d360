"""Stanford Online Products: 120,053 photographs of 22,634 products.

Song et al., CVPR 2016, arXiv:1511.06452.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.datasets.images import ImageList
from robustbench_dml.datasets.listed import Listing, image_list, listed_status, load_listed
from robustbench_dml.datasets.lists import find_folder, inside, missing_dataset, read_table, whole_number
from robustbench_dml.datasets.prepare import RemoteFile, prepare_files
from robustbench_dml.spec.registry import DatasetInfo, register_dataset

TRAIN_LIST, TEST_LIST, FOLDER = "Ebay_train.txt", "Ebay_test.txt", "Stanford_Online_Products"
FILES = (
    RemoteFile(
        "Stanford_Online_Products.zip",
        (
            "https://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",
            "http://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",
        ),
        "md5:7f73d41a2f44250d4779881525aea32e",
    ),
)


def locate(paths: DataPaths) -> Path | None:
    """Return the folder of `Ebay_train.txt`."""
    return find_folder(paths, (".", FOLDER, "sop", f"sop/{FOLDER}"), (TRAIN_LIST,))


def read(paths: DataPaths) -> Listing:
    """Return the official split, which is zero-shot.

    Raises:
        RbdmlError: the set is missing, or its lists are damaged.
    """
    folder = locate(paths)
    if folder is None:
        raise missing_dataset("sop", paths, TRAIN_LIST)
    train, test = (_read_list(folder, name) for name in (TRAIN_LIST, TEST_LIST))
    return Listing(train, test, origin=folder / TRAIN_LIST)


def _read_list(folder: Path, name: str) -> ImageList:
    rows = read_table(folder / name, 4, header=True)  # image, class, super-class, path
    path = folder / name
    return image_list(folder, [(inside(row[3], path), whole_number(row[1], path)) for row in rows])


register_dataset(
    DatasetInfo(
        name="sop",
        summary="Stanford Online Products: 11,318 / 11,316 products, 59,551 / 60,502 images",
        paper="Song et al., CVPR 2016, arXiv:1511.06452",
        family="rgb224",
        backbone="resnet18",
        train_images=59_551,
        test_images=60_502,
        train_classes=11_318,
        test_classes=11_316,
        queries=2_000,
        load=partial(load_listed, "sop", read),
        status=partial(listed_status, "sop", read),
        prepare=lambda paths, request: prepare_files("sop", FILES, paths, request, locate=locate),
        params={"hm": {"ics": 0.05}, "ca-tride": {"lbd": 2.0}},
    )
)
