from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support import pixels

from robustbench_dml.datasets import fashion
from robustbench_dml.datasets.base import DataPaths, Dataset, Split
from robustbench_dml.datasets.fashion_mini import make_subset
from robustbench_dml.datasets.idx import FILES, TEST_IMAGES
from robustbench_dml.spec.registry import BACKBONES, DATASETS
from robustbench_dml.utils.errors import RbdmlError

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def mini() -> Dataset:
    return fashion.load_fashion_mini(DataPaths(Path("nowhere")))


def test_every_class_has_600_and_150_images(mini: Dataset) -> None:
    assert torch.equal(torch.bincount(mini.train.labels), torch.full((10,), 600))
    assert torch.equal(torch.bincount(mini.test.labels), torch.full((10,), 150))


def test_the_subset_has_its_registered_size(mini: Dataset) -> None:
    info = DATASETS.get("fashion-mini")
    assert (len(mini.train), len(mini.test)) == (len(pixels(mini.train)), len(pixels(mini.test)))
    assert (len(mini.train), len(mini.test)) == (info.train_images, info.test_images)
    assert BACKBONES.get(info.backbone).takes(mini.image_shape)
    assert pixels(mini.train).dtype == pixels(mini.test).dtype == torch.uint8


def test_no_test_image_is_a_training_image(mini: Dataset) -> None:
    train = {image.numpy().tobytes() for image in pixels(mini.train)}
    assert not train & {image.numpy().tobytes() for image in pixels(mini.test)}


def test_it_takes_less_than_four_megabytes() -> None:
    size = sum(path.stat().st_size for path in fashion.EMBEDDED.iterdir() if path.is_file())
    assert size < 4 * MEGABYTE


def test_the_read_me_shows_the_hashes_of_the_files() -> None:
    shown = dict(re.findall(r"\| (\S+-ubyte) \| `([0-9a-f]{64})` \|", (fashion.EMBEDDED / "README.md").read_text()))
    content = {name: gzip.decompress((fashion.EMBEDDED / f"{name}.gz").read_bytes()) for name in FILES}
    assert shown == {name: hashlib.sha256(content[name]).hexdigest() for name in FILES}
    assert shown == fashion.FASHION_MINI


def test_an_altered_copy_asks_to_install_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FILES:
        shutil.copy(fashion.EMBEDDED / f"{name}.gz", tmp_path)
    whole = (tmp_path / f"{TEST_IMAGES}.gz").read_bytes()
    (tmp_path / f"{TEST_IMAGES}.gz").write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(fashion, "EMBEDDED", tmp_path)
    with pytest.raises(RbdmlError, match=f"{TEST_IMAGES}.*truncated.*installing the package again"):
        fashion.load_fashion_mini(DataPaths())


def test_the_subset_is_the_smallest_hashes_of_each_class() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 1, 2, 2), dtype=np.uint8)
    labels = rng.integers(0, 4, 60)
    images[labels == 3] = images[0]  # equal images: the first rows are taken
    chosen = make_subset.choose(Split(torch.from_numpy(images), torch.from_numpy(labels)), 5)

    expected = []
    for label in range(4):
        hashes = [(hashlib.sha256(images[i].tobytes()).hexdigest(), i) for i in range(60) if labels[i] == label]
        expected += [row for _, row in sorted(hashes)[:5]]
    assert chosen.tolist() == sorted(expected)
    assert len(chosen) == 20


def test_the_subset_of_the_whole_set_is_the_embedded_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fashion.FASHION_MNIST.system is not None
    folder, command = fashion.FASHION_MNIST.system
    if not folder.is_dir():
        pytest.skip(f"Fashion-MNIST is not in {folder}: `{command}`")
    monkeypatch.setattr(sys, "argv", ["make_subset", "--data-root", str(folder), "--out", str(tmp_path)])
    make_subset.main()
    made = {name: gzip.decompress((tmp_path / f"{name}.gz").read_bytes()) for name in FILES}
    assert {name: hashlib.sha256(made[name]).hexdigest() for name in FILES} == fashion.FASHION_MINI
    assert dict(line.split() for line in capsys.readouterr().out.splitlines()) == fashion.FASHION_MINI
