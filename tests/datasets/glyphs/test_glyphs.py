from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from support import pixels

from robustbench_dml.datasets import glyphs
from robustbench_dml.datasets.base import DataPaths, Dataset
from robustbench_dml.datasets.glyphs.drawing import read_table
from robustbench_dml.datasets.idx import FILES, TEST_IMAGES
from robustbench_dml.spec.registry import BACKBONES, DATASETS
from robustbench_dml.utils.errors import RbdmlError

MEGABYTE = 1_000_000
SCRIPTS = Path(__file__).parents[3] / "benchmarks" / "glyphs"
CHARACTERS = read_table(glyphs.EMBEDDED / "characters.csv")
DROPPED = read_table(SCRIPTS / "dropped.csv")
FONTS = read_table(SCRIPTS / "fonts.csv")
SPLITS = ("train", "test")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return glyphs.load(DataPaths(Path("nowhere")))


def test_each_class_has_sixty_images(data: Dataset) -> None:
    for split in (data.train, data.test):
        _, counts = torch.unique(split.labels, return_counts=True)
        assert counts.tolist() == [glyphs.PER_CLASS] * glyphs.CLASSES


def test_training_and_test_classes_are_disjoint(data: Dataset) -> None:
    assert not set(data.train.labels.tolist()) & set(data.test.labels.tolist())
    characters = {name: {row["character"] for row in CHARACTERS if row["split"] == name} for name in SPLITS}
    assert not characters["train"] & characters["test"]
    assert [len(characters[name]) for name in SPLITS] == [glyphs.CLASSES] * 2


def test_both_splits_have_every_script() -> None:
    scripts = {name: {row["script"] for row in CHARACTERS if row["split"] == name} for name in SPLITS}
    assert scripts["train"] == scripts["test"] == {"latin", "greek", "cyrillic", "digit", "sign"}


def test_it_matches_its_registration(data: Dataset) -> None:
    info = DATASETS.get("glyphs")
    assert (len(data.train), len(data.test)) == (info.train_images, info.test_images)
    assert (len(pixels(data.train)), len(pixels(data.test))) == (info.train_images, info.test_images)
    assert BACKBONES.get(info.backbone).takes(data.image_shape)
    assert pixels(data.train).dtype == pixels(data.test).dtype == torch.uint8


def test_no_two_images_are_equal(data: Dataset) -> None:
    images = [image.numpy().tobytes() for split in (data.train, data.test) for image in pixels(split)]
    assert len(set(images)) == len(images)


def test_no_dropped_character_is_a_class() -> None:
    classes = {row["character"] for row in CHARACTERS}
    assert not classes & {row["character"] for row in DROPPED}


def test_a_dropped_character_names_how_it_was_found() -> None:
    assert {row["by"] for row in DROPPED} == {"correlation", "confusion", "eye"}
    assert all(bool(row["value"]) == (row["by"] != "eye") for row in DROPPED)


def test_no_font_is_in_both_splits() -> None:
    for key in ("font", "file", "sha256"):
        assert len({row[key] for row in FONTS}) == len(FONTS)
    packages = {name: {row["package"] for row in FONTS if row["split"] == name} for name in SPLITS}
    assert not packages["train"] & packages["test"]


def test_every_font_has_a_free_licence_and_a_version() -> None:
    free = "OFL|BSD|MIT|Apache|Bitstream Vera|font exception|IPA-1.0|public domain"
    assert all(re.search(free, row["licence"]) and row["version"] for row in FONTS)


def test_it_takes_less_than_four_megabytes() -> None:
    assert sum(path.stat().st_size for path in glyphs.EMBEDDED.iterdir() if path.is_file()) < 4 * MEGABYTE


def test_the_read_me_shows_the_hashes_of_the_files() -> None:
    text = (glyphs.EMBEDDED / "README.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"\| (\S+-ubyte) \| `([0-9a-f]{64})` \|", text)) == glyphs.GLYPHS


def test_the_read_me_lists_every_package_with_its_licence() -> None:
    text = (SCRIPTS / "README.md").read_text(encoding="utf-8")
    listed = {
        (package, licence) for package, licence in re.findall(r"^\| (fonts-\S+) \|[^|]*\| ([^|]+) \|", text, re.M)
    }
    assert listed == {(row["package"], row["licence"]) for row in FONTS}


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_files(tmp_path, monkeypatch)
    (tmp_path / f"{name}.gz").unlink()
    with pytest.raises(RbdmlError, match=f"{name}: no such file.*installing the package again") as refused:
        glyphs.load(DataPaths())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("damage", ["half", "flipped", "empty"])
def test_a_damaged_file_is_refused(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_files(tmp_path, monkeypatch)
    path = tmp_path / f"{TEST_IMAGES}.gz"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle] ^= 1
    path.write_bytes(content[: {"half": middle, "flipped": None, "empty": 0}[damage]])
    with pytest.raises(RbdmlError, match=f"{TEST_IMAGES}.*installing the package again") as refused:
        glyphs.load(DataPaths())
    assert "\n" not in str(refused.value)


def copy_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FILES:
        shutil.copy(glyphs.EMBEDDED / f"{name}.gz", folder)
    monkeypatch.setattr(glyphs, "EMBEDDED", folder)


def test_its_status_gives_sizes_and_hashes() -> None:
    status = glyphs.status(DataPaths())
    assert status.train == status.test == (glyphs.CLASSES * glyphs.PER_CLASS, glyphs.CLASSES)
    assert status.hashes == glyphs.GLYPHS
