from __future__ import annotations

from pathlib import Path

import pytest
from image_trees import bare_machine, check_dataset, register_tree, write_cub

from robustbench_dml.datasets import cub, lists
from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.utils.errors import MissingDataError, RbdmlError


@pytest.fixture(autouse=True)
def no_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_machine(tmp_path, monkeypatch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_cub(tmp_path / "data").root


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_first_hundred_classes_are_for_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = write_cub(tmp_path / "data", classes=(1, 7, 99, 100, 101, 102, 200), per_class=3)
    listing = cub.read(DataPaths(tmp_path / "data"))
    assert list(listing.train.paths) == [path for path, _ in tree.train]
    assert list(listing.test.paths) == [path for path, _ in tree.test]
    assert listing.train.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert listing.test.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    register_tree(monkeypatch, "cub", tree)
    check_dataset(DATASETS.get("cub").load(DataPaths(tmp_path / "data")), tree)


def test_images_and_classes_are_matched_by_number_and_not_by_line(root: Path) -> None:
    before = cub.read(DataPaths(root))
    labels = root / "image_class_labels.txt"
    labels.write_text("".join(reversed(labels.read_text().splitlines(keepends=True))))
    after = cub.read(DataPaths(root))
    assert dict(zip(after.test.paths, after.test.labels.tolist(), strict=True)) == dict(
        zip(before.test.paths, before.test.labels.tolist(), strict=True)
    )


def test_names_with_blanks_and_empty_lines_are_read(root: Path) -> None:
    edit(root / "images.txt", "Some_Bird_0000_707.jpg", "Some Bird 0.jpg")
    with (root / "images.txt").open("a") as file:
        file.write("\n\n")
    assert cub.read(DataPaths(root)).test.paths[0] == "images/101.Some_Bird/Some Bird 0.jpg"


def test_the_mark_of_a_windows_editor_is_ignored(root: Path) -> None:
    before = cub.read(DataPaths(root))
    for name in ("images.txt", "image_class_labels.txt"):
        path = root / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    after = cub.read(DataPaths(root))
    assert (after.train.paths, after.test.paths) == (before.train.paths, before.test.paths)


def test_a_line_with_too_few_columns_is_named(root: Path) -> None:
    edit(root / "images.txt", "3 100.Some_Bird/Some_Bird_0000_700.jpg", "3")
    with pytest.raises(RbdmlError, match=r"/images\.txt, line 3: 1 columns instead of 2: get a fresh copy"):
        cub.read(DataPaths(root))


def test_a_class_that_is_no_number_is_named(root: Path) -> None:
    edit(root / "image_class_labels.txt", "4 100", "4 hundred")
    with pytest.raises(RbdmlError, match=r"/image_class_labels\.txt: 'hundred' stands where a number should"):
        cub.read(DataPaths(root))


@pytest.mark.parametrize("path", ["../../../etc/passwd", "101.Some_Bird/../../x.jpg", "/etc/passwd"])
def test_a_path_that_leads_out_of_the_folder_is_refused(root: Path, path: str) -> None:
    edit(root / "images.txt", "101.Some_Bird/Some_Bird_0000_707.jpg", path)
    with pytest.raises(RbdmlError, match=rf"/images\.txt: '{path}' leads out of its folder"):
        cub.read(DataPaths(root))


@pytest.mark.parametrize("file", ["images.txt", "image_class_labels.txt"])
def test_lists_of_different_images_are_refused(root: Path, file: str) -> None:
    lines = (root / file).read_text().splitlines(keepends=True)
    (root / file).write_text("".join(lines[:-1]))
    with pytest.raises(RbdmlError, match=r"/image_class_labels\.txt: does not name the images of images\.txt"):
        cub.read(DataPaths(root))


def test_a_missing_list_of_classes_is_named(root: Path) -> None:
    (root / "image_class_labels.txt").unlink()
    with pytest.raises(RbdmlError, match=r"/image_class_labels\.txt: cannot be read \(No such file"):
        cub.read(DataPaths(root))


def test_a_list_that_is_no_text_is_named(root: Path) -> None:
    (root / "images.txt").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(RbdmlError, match=r"/images\.txt: not a text file"):
        cub.read(DataPaths(root))


def test_without_its_list_of_images_the_set_is_not_here(root: Path) -> None:
    (root / "images.txt").unlink()
    with pytest.raises(MissingDataError, match=r"no images\.txt below .*rbdml data prepare cub"):
        cub.read(DataPaths(root))


@pytest.mark.parametrize("number", ["9" * 5000, "1" * 19, "\u0663"])
def test_a_number_that_no_class_has_is_named(root: Path, number: str) -> None:
    edit(root / "image_class_labels.txt", "4 100", f"4 {number}")
    with pytest.raises(RbdmlError, match="stands where a number should") as caught:
        cub.read(DataPaths(root))
    assert len(str(caught.value)) < 300


def test_a_list_longer_than_any_is_not_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST", 10)
    with pytest.raises(RbdmlError, match=r"/images\.txt: cannot be read .larger than 10 bytes"):
        cub.read(DataPaths(root))
