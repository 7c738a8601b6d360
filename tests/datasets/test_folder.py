from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest
import torch
from image_trees import Tree, bare_machine, check_dataset, write_folder, write_image

from robustbench_dml.datasets import folder
from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.utils.errors import RbdmlError


@pytest.fixture(autouse=True)
def no_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_machine(tmp_path, monkeypatch)


def counts(name: str) -> tuple[int, int, int, int]:
    info = DATASETS.get(name)
    return info.train_images, info.train_classes, info.test_images, info.test_classes


@pytest.mark.parametrize(
    ("classes", "train"),
    [
        (("dog", "ant", "cow", "bee"), {"ant", "bee"}),
        (("e", "d", "c", "b", "a"), {"a", "b", "c"}),  # the one in the middle is for training
        (("Zoo", "ant", "bee", "10", "9"), {"10", "9", "Zoo"}),  # by their characters, not as numbers or words
    ],
)
def test_the_first_half_of_the_classes_by_name_is_for_training(
    tmp_path: Path, classes: tuple[str, ...], train: set[str]
) -> None:
    tree = write_folder(tmp_path / "mine", classes=classes, per_class=3)
    listing = folder.read(tree.root)
    assert {path.split("/")[0] for path in listing.train.paths} == train
    assert {path.split("/")[0] for path in listing.test.paths} == set(classes) - train
    check_dataset(DATASETS.get(f"folder:{tree.root}").load(DataPaths()), tree)


def test_folders_train_and_test_are_the_split(tmp_path: Path) -> None:
    train = write_folder(tmp_path / "train", classes=("y", "z", "w"), per_class=2)
    test = write_folder(tmp_path / "test", classes=("a", "b"), per_class=3)
    tree = Tree(
        tmp_path,
        [(f"train/{path}", label) for path, label in train.train + train.test],
        [(f"test/{path}", label) for path, label in test.train + test.test],
    )
    assert counts(f"folder:{tmp_path}") == (6, 3, 6, 2)
    check_dataset(DATASETS.get(f"folder:{tmp_path}").load(DataPaths()), tree)


@pytest.mark.parametrize("classes", [("test", "train", "val"), ("Query", "a", "b", "gallery")])
def test_several_parts_beside_other_folders_are_refused(tmp_path: Path, classes: tuple[str, ...]) -> None:
    write_folder(tmp_path, classes=classes)
    parts = ", ".join(name for name in classes if len(name) > 1)
    with pytest.raises(RbdmlError, match=f"holds {parts}: keep train/ and test/ alone, or class folders alone"):
        folder.read(tmp_path)


def test_a_class_may_have_the_name_of_a_part(tmp_path: Path) -> None:
    write_folder(tmp_path, classes=("train", "bus", "car", "plane"))
    assert {path.split("/")[0] for path in folder.read(tmp_path).train.paths} == {"bus", "car"}


def test_folders_of_the_system_and_folders_called_like_images_do_not_count(tmp_path: Path) -> None:
    tree = write_folder(tmp_path)
    for name in ("__MACOSX", "lost+found", "$RECYCLE.BIN"):
        write_image(tmp_path / name / "ant" / "0.jpg", 0)
    (tmp_path / "ant" / "folder.jpg").mkdir()
    assert counts(f"folder:{tmp_path}") == (4, 2, 4, 2)
    check_dataset(DATASETS.get(f"folder:{tmp_path}").load(DataPaths()), tree)


def test_a_note_names_the_images_and_counts_the_files_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path, classes=("a", "b", "c", "d"))
    for name in ("a/0.avif", "a/1.AVIF", "d/none"):
        (tmp_path / name).touch()
    for suffix in (".jfif", ".JPE"):
        write_image(tmp_path / "b" / "2.jpg", 1)
        (tmp_path / "b" / "2.jpg").rename(tmp_path / "b" / f"2{suffix}")
    [note] = folder.read(tmp_path).notes
    assert note == (
        "2 training classes, a/0.jpg to b/2.jfif; 2 test classes, c/0.jpg to d/1.jpg; "
        "left out: 1 without suffix, 2 .avif"
    )


def test_a_broken_link_is_named_and_nothing_is_to_be_removed(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "ant" / "gone.jpg").symlink_to("/nonexistent.jpg")
    with pytest.raises(RbdmlError, match=r"/ant/gone\.jpg: missing image of .*: put it back, or take its name or link"):
        DATASETS.get(f"folder:{tmp_path}").load(DataPaths())


@pytest.mark.parametrize("name", [b"caf\xe9", b"a/caf\xe9.jpg"])
def test_a_path_that_is_not_utf_8_is_refused(tmp_path: Path, name: bytes) -> None:
    root = tmp_path / (os.fsdecode(name) if b"/" not in name else "data")
    write_folder(root)
    if b"/" in name:
        write_image(root / "ant" / "x.jpg", 1)
        (root / "ant" / "x.jpg").rename(root / "ant" / os.fsdecode(name[2:]))
    with pytest.raises(RbdmlError, match=r"caf.xe9.*: a path that is not UTF-8: rename it"):
        DATASETS.get(f"folder:{root}")


def test_without_a_home_folder_the_variable_to_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path)
    for name in ("HOME", "RBDML_CACHE"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # raises KeyError, as for a user without an entry
    with pytest.raises(RbdmlError, match="there is no home folder for decoded images: set RBDML_CACHE to a folder"):
        DATASETS.get(f"folder:{tmp_path}").load(DataPaths())


def test_a_hidden_folder_beside_train_and_test_does_not_count(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_folder(tmp_path / part, classes=("a", "b"))
    write_image(tmp_path / ".cache" / "x" / "0.jpg", 0)
    assert counts(f"folder:{tmp_path}") == (4, 2, 4, 2)


def test_hidden_files_and_other_suffixes_are_ignored(tmp_path: Path) -> None:
    tree = write_folder(tmp_path)
    for name in ("ant/.hidden.jpg", "ant/.thumbnails/0.jpg", "ant/a/.b/c/0.jpg", ".git/0.jpg", "at_the_top.jpg"):
        write_image(tmp_path / name, 1)
    for name in ("ant/notes.txt", "ant/Thumbs.db", "ant/none", "README.md"):
        (tmp_path / name).write_text("text")
    listing = folder.read(tmp_path)
    assert sorted(listing.train.paths) == sorted(path for path, _ in tree.train)
    assert sorted(listing.test.paths) == sorted(path for path, _ in tree.test)


def test_images_of_all_kinds_and_depths_belong_to_the_class_at_the_top(tmp_path: Path) -> None:
    names = ["0.jpg", "1.JPEG", "2.png", "3.webp", "4.BMP", "5.tiff", "6.gif", "deep/er/7.ppm"]
    for name in names:
        write_image(tmp_path / "a" / name, 1)
        write_image(tmp_path / "b" / name, 2)
    for name in ("c", "d"):
        write_image(tmp_path / name / "0.jpg", 3)
    train = folder.read(tmp_path).train
    assert set(train.paths) == {f"{label}/{name}" for label in ("a", "b") for name in names}
    assert [path[0] for path in train.paths] == ["ab"[label] for label in train.labels.tolist()]
    loaded = DATASETS.get(f"folder:{tmp_path}").load(DataPaths())
    assert loaded.train.batch(torch.arange(16)).shape == (16, 3, 224, 224)


def test_a_folder_without_an_image_is_no_class(tmp_path: Path) -> None:
    write_folder(tmp_path, classes=("a", "b", "c", "d", "e"))
    for path in (tmp_path / "b").iterdir():
        path.rename(path.with_suffix(".bak"))
    assert counts(f"folder:{tmp_path}") == (4, 2, 4, 2)


@pytest.mark.parametrize(
    ("classes", "found"), [(("a", "b", "c"), "1 test classes"), (("a",), "1 training"), ((), "0 training")]
)
def test_too_few_classes_are_refused(tmp_path: Path, classes: tuple[str, ...], found: str) -> None:
    write_folder(tmp_path, classes=classes)
    with pytest.raises(RbdmlError, match=rf"{tmp_path}: {found}.*: put at least four class folders"):
        DATASETS.get(f"folder:{tmp_path}")


def test_too_few_classes_in_a_part_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", classes=("a", "b"))
    write_folder(tmp_path / "test", classes=("c",))
    with pytest.raises(RbdmlError, match="1 test classes with images"):
        DATASETS.get(f"folder:{tmp_path}")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RbdmlError, match=r"/none: cannot be read \(No such file or directory\): give folder:PATH"):
        DATASETS.get(f"folder:{tmp_path / 'none'}")


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RbdmlError, match=r"/file: cannot be read \(Not a directory\): give folder:PATH"):
        DATASETS.get(f"folder:{tmp_path / 'file'}")


def test_the_entry_describes_the_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, classes=("a", "b", "c", "d", "e"), per_class=3)
    name = f"folder:{tmp_path}"
    info = DATASETS.get(name)
    assert (info.name, info.prepare) == (name, None)
    assert counts(name) == (9, 3, 6, 2)
    write_image(tmp_path / "a" / "more.png", 1)
    assert counts(name) == (10, 3, 6, 2)
    assert "folder:PATH" in [scheme.name for scheme in DATASETS.schemes]
    assert name not in [entry.name for entry in DATASETS]


def test_the_status_of_a_set(tmp_path: Path) -> None:
    write_folder(tmp_path)
    info = DATASETS.get(f"folder:{tmp_path}")
    assert info.status(DataPaths()).decoded == "not yet"
    dataset = info.load(DataPaths())
    found = info.status(DataPaths(), verify=True)
    assert (found.where, found.train, found.test, found.decoded) == (tmp_path, (4, 2), (4, 2), "kept")
    assert found.hashes == dataset.hashes
    assert (dataset.name, dataset.image_shape, len(dataset.notes)) == (f"folder:{tmp_path}", (3, 224, 224), 1)


def test_a_tilde_is_the_home_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "home" / "mine")
    assert counts("folder:~/mine") == (4, 2, 4, 2)


def test_training_and_test_classes_share_no_image(tmp_path: Path) -> None:
    write_folder(tmp_path, classes=tuple("abcdefg"))
    listing = folder.read(tmp_path)
    assert not set(listing.train.paths) & set(listing.test.paths)
    assert not {path[0] for path in listing.train.paths} & {path[0] for path in listing.test.paths}


def test_a_class_of_one_image_is_noted(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "bee" / "1.jpg").unlink()
    _, note = DATASETS.get(f"folder:{tmp_path}").load(DataPaths()).notes
    assert note == "1 training classes have one image and are left out of training, for instance bee/0.jpg"


def test_a_corrupt_image_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "cow" / "1.jpg").write_text("no image")
    with pytest.raises(RbdmlError, match=r"/cow/1\.jpg: cannot be read as an image"):
        DATASETS.get(f"folder:{tmp_path}").load(DataPaths())
