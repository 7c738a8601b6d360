from __future__ import annotations

from pathlib import Path

import pytest
from image_trees import (
    WITH_LABELS,
    bare_machine,
    check_dataset,
    naive_pixels,
    register_tree,
    write_annotations,
    write_cars,
    write_cars_devkit,
)
from scipy.io import savemat

from robustbench_dml.datasets import cars
from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.datasets.images import ImageList
from robustbench_dml.datasets.matlab import read_pairs
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.utils.errors import RbdmlError

PAIRS: dict[tuple[str, ...], list[tuple[str, int]]] = {}  # of the annotations that were read


@pytest.fixture(autouse=True)
def no_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_machine(tmp_path, monkeypatch)


@pytest.fixture
def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read equal annotations in one process only: each process imports scipy."""

    def read(path: Path, variable: str, **fields: str) -> list[tuple[str, int]]:
        content = path.read_bytes()[128:] if path.is_file() else b""  # the header has the time
        key = (content.hex(), *fields.values())
        if key not in PAIRS or not key[0]:
            PAIRS[key] = read_pairs(path, variable, **fields)
        return PAIRS[key]

    monkeypatch.setattr(cars, "read_pairs", read)


def content(images: ImageList) -> list[tuple[bytes, int]]:
    """Images and classes, without names and order."""
    pixels = [naive_pixels(images.root / path, 32).tobytes() for path in images.paths]
    return sorted(zip(pixels, images.labels.tolist(), strict=True))


def test_the_first_98_classes_are_for_training_in_spite_of_the_other_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = write_cars(tmp_path / "data", classes=(1, 98, 99, 100, 196), per_class=2)
    listing = cars.read(DataPaths(tmp_path / "data"))
    assert list(listing.train.paths) == [path for path, _ in tree.train]
    assert list(listing.test.paths) == [path for path, _ in tree.test]
    assert listing.train.labels.tolist() == [0, 0, 1, 1]
    assert listing.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    register_tree(monkeypatch, "cars", tree)
    check_dataset(DATASETS.get("cars").load(DataPaths(tmp_path / "data")), tree)


@pytest.mark.usefixtures("read_once")
@pytest.mark.parametrize(
    "with_labels", [WITH_LABELS, f"devkit/{WITH_LABELS}", "devkit/cars_test_annos_withlabels_eval.mat"]
)
@pytest.mark.parametrize("place", [".", "stanford_cars", "cars/stanford_cars"])
def test_the_older_layout_gives_the_same_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_labels: str, place: str
) -> None:
    write_cars(tmp_path / "new", per_class=3)
    tree = write_cars_devkit(tmp_path / "old" / place, per_class=3, with_labels=with_labels)
    new, old = cars.read(DataPaths(tmp_path / "new")), cars.read(DataPaths(tmp_path / "old"))
    assert content(old.train) == content(new.train)
    assert content(old.test) == content(new.test)
    assert len(old.train) == len(old.test) == 6
    register_tree(monkeypatch, "cars", tree)
    check_dataset(DATASETS.get("cars").load(DataPaths(tmp_path / "old")), tree)


def test_a_list_beside_the_image_folders_of_the_older_layout_is_found(tmp_path: Path) -> None:
    before = cars.read(DataPaths(write_cars_devkit(tmp_path).root))
    (tmp_path / "devkit" / "cars_train_annos.mat").rename(tmp_path / "cars_train_annos.mat")
    assert cars.read(DataPaths(tmp_path)).train.paths == before.train.paths


def test_a_set_of_one_image_is_read(tmp_path: Path) -> None:
    """A struct array of one element is read as no array by scipy."""
    write_cars(tmp_path, classes=(5,), per_class=1)
    assert cars.read(DataPaths(tmp_path)).train.paths == ("car_ims/000001.jpg",)


def test_the_older_layout_without_the_classes_of_its_test_images_is_refused(tmp_path: Path) -> None:
    root = write_cars_devkit(tmp_path).root
    (root / WITH_LABELS).unlink()
    with pytest.raises(RbdmlError, match=rf"/{WITH_LABELS}: missing: get a complete copy"):
        cars.read(DataPaths(root))
    (root / "devkit" / "cars_test_annos.mat").rename(root / WITH_LABELS)  # what a user may try
    with pytest.raises(RbdmlError, match=rf"/{WITH_LABELS}: not the annotations of Cars-196 with classes"):
        cars.read(DataPaths(root))


@pytest.mark.parametrize("kept", [0, 50, 300])
def test_damaged_annotations_are_named(tmp_path: Path, kept: int) -> None:
    path = write_cars(tmp_path).root / "cars_annos.mat"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(RbdmlError, match=r"/cars_annos\.mat: not the annotations of Cars-196 with classes"):
        cars.read(DataPaths(tmp_path))


def test_a_text_in_place_of_the_annotations_is_named(tmp_path: Path) -> None:
    write_cars(tmp_path)
    (tmp_path / "cars_annos.mat").write_text("<html>log in</html>" * 40)
    with pytest.raises(RbdmlError, match=r"/cars_annos\.mat: not the annotations"):
        cars.read(DataPaths(tmp_path))


def test_annotations_of_something_else_are_named(tmp_path: Path) -> None:
    write_cars(tmp_path)
    savemat(tmp_path / "cars_annos.mat", {"other": [1, 2, 3]})
    with pytest.raises(RbdmlError, match=r"/cars_annos\.mat: not the annotations of Cars-196 with classes \(KeyError"):
        cars.read(DataPaths(tmp_path))


def test_annotations_without_classes_are_named(tmp_path: Path) -> None:
    write_annotations(tmp_path / "cars_annos.mat", [{"relative_im_path": "car_ims/000001.jpg", "test": 0}])
    with pytest.raises(RbdmlError, match=r"/cars_annos\.mat: not the annotations of Cars-196 with classes"):
        cars.read(DataPaths(tmp_path))


@pytest.mark.parametrize("path", ["../../etc/passwd", "car_ims/../../x.jpg", "/etc/passwd"])
def test_a_path_that_leads_out_of_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    write_annotations(tmp_path / "cars_annos.mat", [{"relative_im_path": path, "class": 1}] * 2)
    with pytest.raises(RbdmlError, match=rf"/cars_annos\.mat: '{path}' leads out of its folder"):
        cars.read(DataPaths(tmp_path))
