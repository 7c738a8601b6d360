"""CUB-200-2011: 11,788 photographs of 200 bird species, the first 100 for training.

Wah et al., California Institute of Technology, CNS-TR-2011-001, 2011.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.datasets.listed import Listing, listed_status, load_listed, split_by_number
from robustbench_dml.datasets.lists import find_folder, inside, missing_dataset, read_table, whole_number
from robustbench_dml.datasets.prepare import RemoteFile, prepare_files
from robustbench_dml.spec.registry import DatasetInfo, register_dataset
from robustbench_dml.utils.errors import RbdmlError

LIST, LABELS, FOLDER = "images.txt", "image_class_labels.txt", "CUB_200_2011"
FIRST_TEST_CLASS = 101
FILES = (
    RemoteFile(
        "CUB_200_2011.tgz",
        ("https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",),
        "md5:97eceeb196236b17998738112f37df78",
    ),
)


def locate(paths: DataPaths) -> Path | None:
    """Return the folder of `images.txt`."""
    return find_folder(paths, (".", FOLDER, "cub", f"cub/{FOLDER}"), (LIST,))


def read(paths: DataPaths) -> Listing:
    """Return the zero-shot split by class number.

    Raises:
        RbdmlError: the set is missing, or its lists are damaged.
    """
    folder = locate(paths)
    if folder is None:
        raise missing_dataset("cub", paths, LIST)
    files = {number: inside(path, folder / LIST) for number, path in read_table(folder / LIST, 2)}
    labels = folder / LABELS
    classes = {number: whole_number(label, labels) for number, label in read_table(labels, 2)}
    if files.keys() != classes.keys():
        raise RbdmlError(f"{labels}: does not name the images of {LIST}: get a complete copy of the set")
    images = [(f"images/{path}", classes[number]) for number, path in files.items()]
    train, test = split_by_number(folder, images, first_test=FIRST_TEST_CLASS)
    return Listing(train, test, origin=folder / LIST)


register_dataset(
    DatasetInfo(
        name="cub",
        summary="CUB-200-2011: birds, 100 / 100 species, 5,864 / 5,924 images",
        paper="Wah et al., CNS-TR-2011-001, 2011",
        family="rgb224",
        backbone="resnet18",
        train_images=5_864,
        test_images=5_924,
        train_classes=100,
        test_classes=100,
        load=partial(load_listed, "cub", read),
        status=partial(listed_status, "cub", read),
        prepare=lambda paths, request: prepare_files("cub", FILES, paths, request, locate=locate),
    )
)
