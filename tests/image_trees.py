"""Small data sets in the official layouts of the large ones, and what is needed to let them pass for those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch import Tensor

from robustbench_dml.datasets.base import Dataset
from robustbench_dml.datasets.images import ImageList
from robustbench_dml.spec.registry import DATASETS

Entry = tuple[str, int]  # path from the root, and class as the lists of the set number it
Row = dict[str, str | int]  # of the annotations of Cars-196

CUB_CLASSES = (99, 100, 101, 102)  # two on each side of the border
CARS_CLASSES = (97, 98, 99, 100)
SOP_TRAIN, SOP_TEST = (1, 2, 3), (4, 5)
WITH_LABELS = "cars_test_annos_withlabels.mat"


@dataclass(frozen=True)
class Tree:
    """What was written, worked out here and not by the loaders."""

    root: Path
    train: list[Entry]
    test: list[Entry]


def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data but what a test writes; decoded images go below `tmp_path / "cache"`."""
    monkeypatch.delenv("RBDML_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RBDML_CACHE", str(tmp_path / "cache"))


def registered_counts(
    monkeypatch: pytest.MonkeyPatch, name: str, *, train: tuple[int, int], test: tuple[int, int]
) -> None:
    """Let a registered data set have these (images, classes)."""
    counts = dict(zip(("train_images", "train_classes", "test_images", "test_classes"), train + test, strict=True))
    monkeypatch.setitem(DATASETS._entries, name, replace(DATASETS.get(name), **counts))  # type: ignore[arg-type]


def register_tree(monkeypatch: pytest.MonkeyPatch, name: str, tree: Tree) -> None:
    """Let this tree be the whole of a registered data set."""
    train, test = ((len(part), len({label for _, label in part})) for part in (tree.train, tree.test))
    registered_counts(monkeypatch, name, train=train, test=test)


def noise(*seed: int) -> np.ndarray:
    """(H, W, 3) uint8: a picture of random shape and colours that depends on the seed alone."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(9, 33, size=2)
    coarse = rng.integers(0, 256, size=(4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((int(width), int(height)), Image.Resampling.BICUBIC))


def write_image(path: Path, *seed: int) -> Path:
    """A JPEG, or whatever the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(*seed)).save(path)
    return path


def write_list(root: Path, names: Sequence[str], *, seed: int = 0) -> ImageList:
    """Images below a folder and the list of them, of classes 0, 0, 1, 1, ..."""
    for number, name in enumerate(names):
        write_image(root / name, seed, number)
    return ImageList(root, tuple(names), torch.arange(len(names)) // 2)


def naive_pixels(path: Path, side: int) -> np.ndarray:
    """(3, S, S) uint8 of an RGB image, as the papers make them."""
    with Image.open(path) as image:
        resized = image.convert("RGB").resize((side, side), resample=2)  # bilinear
    return np.moveaxis(np.array(resized), 2, 0)


def naive_rows(images: ImageList, side: int) -> Tensor:
    """(N, 3, S, S) uint8 of a list."""
    return torch.from_numpy(np.stack([naive_pixels(images.root / path, side) for path in images.paths]))


def check_dataset(dataset: Dataset, tree: Tree, *, side: int = 256) -> None:
    """Compare all stored images and classes with the tree, whatever the classes' numbers."""
    for split, entries in ((dataset.train, tree.train), (dataset.test, tree.test)):
        expected = sorted((naive_pixels(tree.root / path, side).tobytes(), label) for path, label in entries)
        numbers = {label: number for number, label in enumerate(sorted({label for _, label in entries}))}
        stored = split.images[torch.arange(len(split))].numpy()
        found = sorted((image.tobytes(), label) for image, label in zip(stored, split.labels.tolist(), strict=True))
        assert found == [(image, numbers[label]) for image, label in expected]


def write_cub(root: Path, *, classes: Sequence[int] = CUB_CLASSES, per_class: int = 2) -> Tree:
    """CUB_200_2011/ as it is unpacked, with its other split too, which is not for metric learning."""
    entries, images, labels, other = [], [], [], []
    for label in classes:
        for number in range(per_class):
            name = f"{label:03}.Some_Bird/Some_Bird_{number:04}_{label * 7}.jpg"
            write_image(root / "images" / name, 1, label, number)
            entries.append((f"images/{name}", label))
            images.append(f"{len(entries)} {name}\n")
            labels.append(f"{len(entries)} {label}\n")
            other.append(f"{len(entries)} {number % 2}\n")
    for file, lines in (("images", images), ("image_class_labels", labels), ("train_test_split", other)):
        (root / f"{file}.txt").write_text("".join(lines))
    (root / "classes.txt").write_text("".join(f"{label} {label:03}.Some_Bird\n" for label in classes))
    return _by_class(root, entries, first_test=101)


def write_cars(root: Path, *, classes: Sequence[int] = CARS_CLASSES, per_class: int = 2) -> Tree:
    """Cars-196 with one list: cars_annos.mat and car_ims/; its flag `test` is another split."""
    entries: list[Entry] = []
    rows: list[Row] = []
    for label in classes:
        for number in range(per_class):
            path = f"car_ims/{len(entries) + 1:06}.jpg"
            write_image(root / path, 2, label, number)
            entries.append((path, label))
            rows.append({"relative_im_path": path, "bbox_x1": 1, "class": label, "test": number % 2})
    write_annotations(root / "cars_annos.mat", rows)
    return _by_class(root, entries, first_test=99)


def write_cars_devkit(
    root: Path,
    *,
    classes: Sequence[int] = CARS_CLASSES,
    per_class: int = 2,
    with_labels: str = WITH_LABELS,
) -> Tree:
    """The same images in the older layout: two folders of images, each with all classes."""
    entries = []
    parts: dict[str, list[Row]] = {"cars_train": [], "cars_test": []}
    for label in classes:
        for number in range(per_class):
            part = "cars_test" if number % 2 else "cars_train"
            name = f"{len(parts[part]) + 1:05}.jpg"
            write_image(root / part / name, 2, label, number)
            entries.append((f"{part}/{name}", label))
            parts[part].append({"bbox_x1": 1, "class": label, "fname": name})
    write_annotations(root / "devkit" / "cars_train_annos.mat", parts["cars_train"])
    write_annotations(root / with_labels, parts["cars_test"])
    unlabelled = [{name: row[name] for name in ("bbox_x1", "fname")} for row in parts["cars_test"]]
    write_annotations(root / "devkit" / "cars_test_annos.mat", unlabelled)
    return _by_class(root, entries, first_test=99)


def write_annotations(path: Path, rows: Sequence[Row]) -> None:
    """A .mat file with the struct array `annotations`, 1 x N."""
    table = np.zeros((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for number, row in enumerate(rows):
        for name, value in row.items():
            table[name][0, number] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"annotations": table})


def write_sop(
    root: Path, *, train: Sequence[int] = SOP_TRAIN, test: Sequence[int] = SOP_TEST, per_class: int = 2
) -> Tree:
    """Stanford_Online_Products/ as it is unpacked."""
    parts: list[list[Entry]] = []
    image = 0
    for name, classes in (("Ebay_train.txt", train), ("Ebay_test.txt", test)):
        entries, lines = [], ["image_id class_id super_class_id path\n"]
        for label in classes:
            kind = ("bicycle", "chair")[label % 2]
            for number in range(per_class):
                image += 1
                path = f"{kind}_final/11108512{label:04}_{number}.JPG"
                write_image(root / path, 3, label, number)
                entries.append((path, label))
                lines.append(f"{image} {label} {1 + label % 2} {path}\n")
        (root / name).write_text("".join(lines))
        parts.append(entries)
    return Tree(root, *parts)


def write_folder(root: Path, *, classes: Sequence[str] = ("ant", "bee", "cow", "dog"), per_class: int = 2) -> Tree:
    """A folder of class folders; the number of a class is its place among the names."""
    entries = []
    for label, name in enumerate(sorted(classes)):
        for number in range(per_class):
            path = f"{name}/{number}.jpg"
            write_image(root / path, 4, label, number)
            entries.append((path, label))
    return _by_class(root, entries, first_test=(len(classes) + 1) // 2)


def _by_class(root: Path, entries: Sequence[Entry], *, first_test: int) -> Tree:
    return Tree(
        root,
        [(path, label) for path, label in entries if label < first_test],
        [(path, label) for path, label in entries if label >= first_test],
    )
