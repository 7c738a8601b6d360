"""Common behaviour of CUB, Cars-196 and Stanford Online Products, and crops for the network."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from image_trees import (
    Tree,
    bare_machine,
    check_dataset,
    naive_pixels,
    register_tree,
    registered_counts,
    write_cars,
    write_cub,
    write_sop,
)
from torch import Tensor

from robustbench_dml.datasets import cache as cache_module
from robustbench_dml.datasets.base import DataPaths, Dataset, Images, Split
from robustbench_dml.datasets.cache import PixelCache
from robustbench_dml.datasets.images import Decoded, ImageFiles, ImageList, decode
from robustbench_dml.datasets.listed import Listing, image_list, singleton_classes
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.utils.errors import MissingDataError, RbdmlError

WRITERS: dict[str, Callable[..., Tree]] = {"cub": write_cub, "cars": write_cars, "sop": write_sop}
FOLDERS = {"cub": "CUB_200_2011", "cars": "cars196", "sop": "Stanford_Online_Products"}
LISTS = {"cub": "images.txt", "cars": "cars_annos.mat", "sop": "Ebay_train.txt"}
each_set = pytest.mark.parametrize("name", WRITERS)


@pytest.fixture(autouse=True)
def no_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_machine(tmp_path, monkeypatch)


def written(monkeypatch: pytest.MonkeyPatch, name: str, root: Path) -> Tree:
    """A small set that passes for the whole."""
    tree = WRITERS[name](root)
    register_tree(monkeypatch, name, tree)
    return tree


def load(name: str, root: Path | None, *, cache: bool = True) -> Dataset:
    return DATASETS.get(name).load(DataPaths(root, cache=cache))


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("cub", (5_864, 100), (5_924, 100)),  # these are in every paper on deep metric learning
        ("cars", (8_054, 98), (8_131, 98)),
        ("sop", (59_551, 11_318), (60_502, 11_316)),
    ],
)
def test_the_counts_are_those_of_the_literature(name: str, train: tuple[int, int], test: tuple[int, int]) -> None:
    info = DATASETS.get(name)
    assert (info.train_images, info.train_classes) == train
    assert (info.test_images, info.test_classes) == test


@each_set
@pytest.mark.parametrize("place", [".", "{name}", "{folder}", "{name}/{folder}"])
def test_a_set_is_found_below_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, place: str
) -> None:
    root = tmp_path / "data"
    tree = written(monkeypatch, name, root / place.format(name=name, folder=FOLDERS[name]))
    check_dataset(load(name, root, cache=False), tree)


@each_set
def test_a_set_is_found_by_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    tree = written(monkeypatch, name, tmp_path / "named" / name)
    monkeypatch.setenv("RBDML_DATA", str(tmp_path / "named"))
    check_dataset(load(name, tmp_path / "asked"), tree)


@each_set
def test_the_error_about_a_missing_set_has_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("RBDML_DATA", str(tmp_path / "named"))
    with pytest.raises(MissingDataError) as caught:
        load(name, tmp_path / "asked")
    for part in (f"'{name}'", LISTS[name], f"rbdml data prepare {name}", "--data-root", "$RBDML_DATA"):
        assert part in str(caught.value)
    for folder in ("asked", "named"):
        assert str(tmp_path / folder) in str(caught.value)


@each_set
@pytest.mark.parametrize("lacks", ["training", "test"])
def test_lists_of_other_counts_are_refused_by_their_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, lacks: str
) -> None:
    tree = WRITERS[name](tmp_path / "data")
    fewer = Tree(tree.root, tree.train[1:], tree.test) if lacks == "training" else Tree(tree.root, tree.train, [])
    register_tree(monkeypatch, name, fewer)
    with pytest.raises(RbdmlError, match=rf"/data/{LISTS[name]}: lists \d {lacks} images of \d classes and '{name}'"):
        load(name, tmp_path / "data")
    assert not (tmp_path / "cache").exists()  # nothing is decoded of a set that is not whole


@pytest.mark.parametrize(("train", "test"), [((4, 3), (4, 2)), ((4, 2), (4, 1))])
def test_as_many_images_of_another_number_of_classes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: tuple[int, int], test: tuple[int, int]
) -> None:
    write_cub(tmp_path / "data")
    registered_counts(monkeypatch, "cub", train=train, test=test)
    with pytest.raises(
        RbdmlError, match=r"images\.txt: lists 4 \w+ images of 2 classes and 'cub' has 4 of [31]: get a"
    ):
        load("cub", tmp_path / "data")


@each_set
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_missing_image_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, part: str) -> None:
    tree = written(monkeypatch, name, tmp_path / "data")
    path = tree.root / getattr(tree, part)[-1][0]
    path.unlink()
    with pytest.raises(
        RbdmlError, match=rf"{path}: missing image of '{name}': .*move .* away .*rbdml data prepare {name}"
    ):
        load(name, tmp_path / "data")


@each_set
@pytest.mark.parametrize("cache", [True, False])
def test_a_corrupt_image_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, cache: bool) -> None:
    tree = written(monkeypatch, name, tmp_path / "data")
    path = tree.root / tree.test[0][0]
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(RbdmlError, match=rf"{path}: cannot be read as an image \(.*\): get a fresh copy"):
        load(name, tmp_path / "data", cache=cache)


@each_set
def test_training_and_test_classes_share_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    tree = written(monkeypatch, name, tmp_path / "data")
    dataset = load(name, tmp_path / "data")
    check_dataset(dataset, tree)
    assert not {label for _, label in tree.train} & {label for _, label in tree.test}
    stored = [{image.numpy().tobytes() for image in pixels(split)} for split in (dataset.train, dataset.test)]
    assert not stored[0] & stored[1]


@each_set
def test_classes_of_one_image_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    tree = WRITERS[name](tmp_path / "data", per_class=1)
    register_tree(monkeypatch, name, tree)
    train, test = load(name, tmp_path / "data").notes
    assert f"{len(tree.train)} training classes have one image" in train
    assert train.endswith(f"for instance {tree.train[0][0]}")
    assert f"{len(tree.test)} test classes have one image and are in the gallery, but no queries" in test


@each_set
def test_nothing_is_noted_of_a_set_with_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    written(monkeypatch, name, tmp_path / "data")
    assert load(name, tmp_path / "data").notes == ()


def test_only_the_classes_of_one_image_are_counted() -> None:
    some = image_list(Path("root"), [("x0", 5), ("y0", 2), ("x1", 5), ("z0", 9), ("z1", 9), ("z2", 9)])
    none = image_list(Path("root"), [("x0", 5), ("x1", 5)])
    [note] = singleton_classes(Listing(some, none, Path("list")))
    assert note == "1 training classes have one image and are left out of training, for instance y0"


def test_classes_are_numbered_in_their_order() -> None:
    images = image_list(Path("root"), [("a", 10), ("b", 9), ("c", 100), ("d", 9)])
    assert images.labels.tolist() == [1, 0, 2, 0]
    assert images.labels.dtype == torch.long
    assert images.paths == ("a", "b", "c", "d")
    assert image_list(Path("root"), [("a", "10"), ("b", "9")]).labels.tolist() == [0, 1]


@each_set
def test_with_and_without_a_cache_batches_and_hashes_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    written(monkeypatch, name, tmp_path / "data")
    kept, not_kept = (load(name, tmp_path / "data", cache=cache) for cache in (True, False))
    assert isinstance(not_kept.train.images, ImageFiles) and not isinstance(kept.train.images, ImageFiles)
    assert kept.hashes == not_kept.hashes
    assert kept.image_shape == not_kept.image_shape == (3, 224, 224)
    rows = torch.tensor([3, 0, 2])
    for ours, theirs in ((kept.train, not_kept.train), (kept.test, not_kept.test)):
        assert torch.equal(ours.labels, theirs.labels)
        assert torch.equal(ours.batch(rows), theirs.batch(rows))
        assert torch.equal(augmented(ours, rows), augmented(theirs, rows))


def test_a_network_sees_the_centre_of_the_resized_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = written(monkeypatch, "sop", tmp_path / "data")
    train = load("sop", tmp_path / "data").train
    whole = naive_pixels(tree.root / tree.train[2][0], 256)
    assert np.array_equal(train.batch(torch.tensor([2]))[0].numpy(), whole[:, 16:240, 16:240].astype("f4") / 255)


@each_set
def test_the_status_needs_no_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    tree = written(monkeypatch, name, tmp_path / "data")
    look = partial(DATASETS.get(name).status, DataPaths(tmp_path / "data"))
    found = look()
    assert found.where.samefile(tree.root)
    assert (found.train, found.test) == (
        (len(tree.train), len({label for _, label in tree.train})),
        (len(tree.test), len({label for _, label in tree.test})),
    )
    assert (found.decoded, found.hashes) == ("not yet", {})
    assert not (tmp_path / "cache").exists()
    hashes = load(name, tmp_path / "data", cache=False).hashes
    assert (look().decoded, look().hashes) == ("checked", hashes)
    load(name, tmp_path / "data")
    assert (look().decoded, look(verify=True).hashes) == ("kept", hashes)


def test_an_interrupted_set_is_there_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = written(monkeypatch, "cub", tmp_path / "data")
    look = partial(DATASETS.get("cub").status, DataPaths(tmp_path / "data"))
    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "decode", failing_at(tree.root / tree.train[2][0]))
        with pytest.raises(KeyboardInterrupt):
            load("cub", tmp_path / "data")
        assert look().decoded == "in part"
        patch.setattr(cache_module, "decode", failing_at(tree.root / tree.test[0][0]))
        with pytest.raises(KeyboardInterrupt):
            load("cub", tmp_path / "data")
        assert look().decoded == "in part"
        assert set(look().hashes) == {"train"}
    load("cub", tmp_path / "data")
    os.utime(tree.root / tree.test[1][0], ns=(1, 1))
    assert look().decoded == "in part"


def test_kept_pixels_that_changed_are_found_when_they_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(monkeypatch, "cub", tmp_path / "data")
    load("cub", tmp_path / "data")
    look = partial(DATASETS.get("cub").status, DataPaths(tmp_path / "data"))
    for path in (tmp_path / "cache").rglob("pixels.u8"):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 255]))
        assert look().decoded == "kept"
        with pytest.raises(RbdmlError, match=r"pixels\.u8: row 3 \(images/.*\) has changed on disk"):
            look(verify=True)
        path.write_bytes(whole)
    assert look(verify=True).decoded == "kept"


def failing_at(path: Path) -> Callable[[Path, int], Decoded]:
    """`decode` that is interrupted at one file."""

    def decode_or_stop(asked: Path, side: int) -> Decoded:
        if asked == path:
            raise KeyboardInterrupt
        return decode(asked, side)

    return decode_or_stop


def pixels(split: Split) -> Tensor:
    return split.images[torch.arange(len(split))]


def augmented(split: Split, rows: Tensor, *, seed: int = 0) -> Tensor:
    return split.augmented(rows, torch.Generator().manual_seed(seed))


def random_split(height: int, width: int, *, crop: int | None, count: int = 5) -> Split:
    images = torch.randint(256, (count, 3, height, width), dtype=torch.uint8, generator=torch.manual_seed(height))
    return Split(images, torch.arange(count), crop=crop)


SHAPES = pytest.mark.parametrize(
    ("height", "width", "crop"), [(8, 8, 6), (9, 9, 6), (7, 12, 5), (12, 7, 5), (6, 6, 6), (6, 9, None)]
)


@SHAPES
def test_a_batch_is_cropped_at_the_centre(height: int, width: int, crop: int | None) -> None:
    split = random_split(height, width, crop=crop)
    rows = [4, 0, 0, 3]
    top, left = (0, 0) if crop is None else ((height - crop) // 2, (width - crop) // 2)
    high, wide = (height, width) if crop is None else (crop, crop)
    naive = pixels(split).numpy()[rows][:, :, top : top + high, left : left + wide].astype(np.float32) / 255
    assert split.image_shape == (3, high, wide)
    assert np.array_equal(split.batch(torch.tensor(rows)).numpy(), naive)


@SHAPES
def test_augmented_images_are_cropped_and_mirrored_as_drawn(height: int, width: int, crop: int | None) -> None:
    split = random_split(height, width, crop=crop)
    rows = torch.tensor([4, 0, 0, 3, 1, 2, 4, 4, 1])
    high, wide = split.image_shape[1:]
    draw = torch.rand(3, len(rows), dtype=torch.float64, generator=torch.Generator().manual_seed(7)).numpy()
    naive = []
    for number, row in enumerate(rows.tolist()):
        top, left = int(draw[0, number] * (height - high + 1)), int(draw[1, number] * (width - wide + 1))
        piece = pixels(split).numpy()[row][:, top : top + high, left : left + wide]
        naive.append(piece[:, :, ::-1] if draw[2, number] < 0.5 else piece)
    assert np.array_equal(augmented(split, rows, seed=7).numpy(), np.stack(naive).astype(np.float32) / 255)


def test_all_crops_and_mirrors_are_reached_and_about_as_often() -> None:
    image = torch.arange(5 * 6, dtype=torch.uint8).reshape(1, 1, 5, 6)
    split = Split(image, torch.zeros(1, dtype=torch.long), crop=3)
    places = {}
    for top in range(3):
        for left in range(4):
            piece = image[0, 0, top : top + 3, left : left + 3]
            places[piece.numpy().tobytes()] = (top, left, False)
            places[piece.flip(1).numpy().tobytes()] = (top, left, True)
    assert len(places) == 24
    seen = (augmented(split, torch.zeros(4_800, dtype=torch.long)) * 255).round().to(torch.uint8)
    found = [places[piece.numpy().tobytes()] for piece in seen]  # nothing else comes out
    counts = [found.count(place) for place in places.values()]
    assert min(counts) > 130 and max(counts) < 270  # 200 each are expected, and 14 is their standard deviation


def test_the_draws_depend_on_the_generator_and_the_number_of_rows_alone() -> None:
    ramp = torch.arange(81, dtype=torch.uint8).reshape(1, 1, 9, 9)
    small, many = Split(ramp, torch.zeros(1), crop=4), Split(ramp.expand(50, 3, 9, 9), torch.zeros(50), crop=4)
    torch.manual_seed(0)
    one = augmented(small, torch.zeros(6, dtype=torch.long))
    torch.manual_seed(1)  # the global generator has no say
    other = augmented(many, torch.tensor([49, 7, 7, 0, 1, 30]))
    assert torch.equal(one.expand(6, 3, 4, 4), other)
    assert not torch.equal(one, augmented(small, torch.zeros(6, dtype=torch.long), seed=1))


def test_every_crop_draws_equally_many_numbers() -> None:
    after = []
    for crop in (None, 4, 9):
        rng = torch.Generator().manual_seed(3)
        random_split(9, 9, crop=crop).augmented(torch.tensor([0, 1]), rng)
        after.append(torch.rand(1, generator=rng).item())
    assert len(set(after)) == 1


@pytest.mark.parametrize("kind", ["memory", "files", "mapped"])
def test_images_give_the_same_batches_wherever_they_are(tmp_path: Path, kind: str) -> None:
    tree = write_cub(tmp_path / "data")
    listed = ImageList(tree.root, tuple(path for path, _ in tree.train), torch.arange(len(tree.train)))
    memory = torch.from_numpy(np.stack([naive_pixels(tree.root / path, 12) for path in listed.paths]))
    cache = PixelCache(tmp_path / "cache", listed, 12)
    cache.prepare("cub", progress=DataPaths().progress)
    kinds: dict[str, Images] = {"memory": memory, "files": ImageFiles(listed, 12), "mapped": cache.open()}
    split, plain = Split(kinds[kind], listed.labels, crop=8), Split(memory, listed.labels, crop=8)
    rows = torch.tensor([2, 2, 0, 3])
    for made in (split, split.to(torch.device("cpu"))):
        assert (len(made), made.image_shape) == (4, (3, 8, 8))
        assert torch.equal(made.batch(rows), plain.batch(rows))
        assert torch.equal(augmented(made, rows), augmented(plain, rows))
