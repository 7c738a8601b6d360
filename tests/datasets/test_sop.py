from __future__ import annotations

from pathlib import Path

import pytest
from image_trees import bare_machine, check_dataset, register_tree, registered_counts, write_image, write_sop

from robustbench_dml.datasets import sop
from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.utils.errors import MissingDataError, RbdmlError

HEADER = "image_id class_id super_class_id path\n"


@pytest.fixture(autouse=True)
def no_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_machine(tmp_path, monkeypatch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_sop(tmp_path / "data").root


def test_the_lists_are_the_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = write_sop(tmp_path / "data", train=(1, 5, 11_318), test=(11_319, 22_634), per_class=3)
    listing = sop.read(DataPaths(tmp_path / "data"))
    assert list(listing.train.paths) == [path for path, _ in tree.train]
    assert list(listing.test.paths) == [path for path, _ in tree.test]
    assert listing.train.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert listing.test.labels.tolist() == [0] * 3 + [1] * 3
    register_tree(monkeypatch, "sop", tree)
    check_dataset(DATASETS.get("sop").load(DataPaths(tmp_path / "data")), tree)


def test_the_product_is_the_class_and_not_the_kind_of_product(root: Path) -> None:
    listing = sop.read(DataPaths(root))
    kinds = {Path(path).parent.name for path in listing.train.paths}
    assert kinds == {"chair_final", "bicycle_final"}
    assert listing.train.classes == 3


def test_classes_are_in_the_order_of_their_numbers(root: Path) -> None:
    (root / "Ebay_train.txt").write_text(f"{HEADER}1 10 1 a.JPG\n2 9 1 b.JPG\n3 10 1 c.JPG\n")
    assert sop.read(DataPaths(root)).train.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("name", ["Ebay_train.txt", "Ebay_test.txt"])
def test_a_line_with_too_few_columns_is_named(root: Path, name: str) -> None:
    lines = (root / name).read_text().splitlines(keepends=True)
    lines[2] = "2 4 chair_final/x.JPG\n"
    (root / name).write_text("".join(lines))
    with pytest.raises(RbdmlError, match=rf"/{name}, line 3: 3 columns instead of 4: get a fresh copy"):
        sop.read(DataPaths(root))


def test_a_class_that_is_no_number_is_named(root: Path) -> None:
    (root / "Ebay_test.txt").write_text(f"{HEADER}1 -4 1 chair_final/x.JPG\n")
    with pytest.raises(RbdmlError, match=r"/Ebay_test\.txt: '-4' stands where a number should"):
        sop.read(DataPaths(root))


@pytest.mark.parametrize("path", ["../x.JPG", "chair_final/../../x.JPG", "/etc/passwd"])
def test_a_path_that_leads_out_of_the_folder_is_refused(root: Path, path: str) -> None:
    (root / "Ebay_test.txt").write_text(f"{HEADER}1 4 1 {path}\n")
    with pytest.raises(RbdmlError, match=rf"/Ebay_test\.txt: '{path}' leads out of its folder"):
        sop.read(DataPaths(root))


def test_a_missing_list_of_test_images_is_named(root: Path) -> None:
    (root / "Ebay_test.txt").unlink()
    with pytest.raises(RbdmlError, match=r"/Ebay_test\.txt: cannot be read \(No such file"):
        sop.read(DataPaths(root))


def test_without_its_list_of_training_images_the_set_is_not_here(root: Path) -> None:
    (root / "Ebay_train.txt").unlink()
    with pytest.raises(MissingDataError, match=r"no Ebay_train\.txt below .*rbdml data prepare sop"):
        sop.read(DataPaths(root))


@pytest.mark.parametrize("text", ["", HEADER])
def test_an_empty_list_is_refused_by_its_counts(root: Path, text: str) -> None:
    (root / "Ebay_train.txt").write_text(text)
    with pytest.raises(
        RbdmlError, match=r"/Ebay_train\.txt: lists 0 training images of 0 classes and 'sop' has 59,551"
    ):
        DATASETS.get("sop").load(DataPaths(root))


def test_the_only_product_with_one_image_is_noted_among_others(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(root / "lamp_final" / "1.JPG", 5)
    with (root / "Ebay_train.txt").open("a") as file:
        file.write("99 77 3 lamp_final/1.JPG\n")
    registered_counts(monkeypatch, "sop", train=(7, 4), test=(4, 2))
    [note] = DATASETS.get("sop").load(DataPaths(root)).notes
    assert note == "1 training classes have one image and are left out of training, for instance lamp_final/1.JPG"
