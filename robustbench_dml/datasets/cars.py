"""Cars-196: 16,185 photographs of 196 car models, the first 98 for training.

Krause et al., 3dRR workshop, ICCV 2013.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.datasets.listed import Listing, listed_status, load_listed, split_by_number
from robustbench_dml.datasets.lists import find_folder, inside, missing_dataset
from robustbench_dml.datasets.matlab import read_pairs
from robustbench_dml.datasets.prepare import RemoteFile, prepare_files
from robustbench_dml.spec.registry import DatasetInfo, register_dataset

ANNOTATIONS = "cars_annos.mat"  # one file for all images, in car_ims/
# The older layout: two parts with a list each. The list of the test images is in the folder above or in the devkit.
DEVKIT = (
    ("cars_train", ("devkit/cars_train_annos.mat", "cars_train_annos.mat")),
    (
        "cars_test",
        (
            "cars_test_annos_withlabels.mat",
            "devkit/cars_test_annos_withlabels.mat",
            "devkit/cars_test_annos_withlabels_eval.mat",
        ),
    ),
)
FIRST_TEST_CLASS = 99
SERVERS = ("http://ai.stanford.edu/~jkrause/car196/", "http://imagenet.stanford.edu/internal/car196/")
FILES = (
    RemoteFile(
        "car_ims.tgz",
        tuple(server + "car_ims.tgz" for server in SERVERS),
        "md5:d5c8f0aa497503f355e17dc7886c3f14",
    ),
    RemoteFile(
        ANNOTATIONS,
        tuple(server + ANNOTATIONS for server in SERVERS),
        "md5:b407c6086d669747186bd1d764ff9dbc",
    ),
)


def locate(paths: DataPaths) -> Path | None:
    """Return the folder of the annotations, in either layout."""
    folders = (".", "cars", "cars196", "cars/cars196", "CARS196", "cars/CARS196", "stanford_cars", "cars/stanford_cars")
    return find_folder(paths, folders, (ANNOTATIONS, *DEVKIT[0][1]))


def read(paths: DataPaths) -> Listing:
    """Return the zero-shot split by class number, over all images of the set.

    Raises:
        RbdmlError: the set is missing, or its annotations are damaged.
    """
    folder = locate(paths)
    if folder is None:
        raise missing_dataset("cars", paths, ANNOTATIONS)
    origin = folder / ANNOTATIONS
    if origin.is_file():
        images = _annotations(origin, "relative_im_path", prefix="")
    else:
        images = []
        for part, candidates in DEVKIT:
            origin = next((folder / path for path in candidates if (folder / path).is_file()), folder / candidates[0])
            images += _annotations(origin, "fname", prefix=f"{part}/")
    train, test = split_by_number(folder, images, first_test=FIRST_TEST_CLASS)
    return Listing(train, test, origin=origin)


def _annotations(path: Path, field: str, *, prefix: str) -> list[tuple[str, int]]:
    """Path and class of every image of one annotation file."""
    what = "the annotations of Cars-196 with classes"
    pairs = read_pairs(path, "annotations", text=field, number="class", what=what)
    return [(inside(prefix + name, path), label) for name, label in pairs]


register_dataset(
    DatasetInfo(
        name="cars",
        summary="Cars-196: 98 / 98 models, 8,054 / 8,131 images",
        paper="Krause et al., 3dRR at ICCV 2013",
        family="rgb224",
        backbone="resnet18",
        train_images=8_054,
        test_images=8_131,
        train_classes=98,
        test_classes=98,
        load=partial(load_listed, "cars", read),
        status=partial(listed_status, "cars", read),
        prepare=lambda paths, request: prepare_files("cars", FILES, paths, request, locate=locate),
        params={"ca-tride": {"lbd": 9.5}},
    )
)
