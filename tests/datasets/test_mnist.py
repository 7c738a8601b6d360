from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from image_trees import bare_machine

from robustbench_dml.datasets import prepare
from robustbench_dml.datasets.base import DataPaths, DownloadRequest
from robustbench_dml.datasets.mnist import MNIST
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.utils.errors import MissingDataError, RbdmlError

TRAIN = np.random.default_rng(0).integers(0, 256, size=(6, 28, 28), dtype=np.uint8)
TEST = np.random.default_rng(1).integers(0, 256, size=(4, 28, 28), dtype=np.uint8)
TRAIN_CLASSES, TEST_CLASSES = [3, 3, 1, 1, 0, 9], [2, 2, 7, 7]


def idx(array: np.ndarray) -> bytes:
    """The format of http://yann.lecun.com/exdb/mnist/: a magic number, sizes, bytes."""
    return struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


SMALL = {
    "train-images-idx3-ubyte": idx(TRAIN),
    "train-labels-idx1-ubyte": idx(np.array(TRAIN_CLASSES, dtype=np.uint8)),
    "t10k-images-idx3-ubyte": idx(TEST),
    "t10k-labels-idx1-ubyte": idx(np.array(TEST_CLASSES, dtype=np.uint8)),
}


def write_small(folder: Path, *, packed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in SMALL.items():
        (folder / f"{name}{'.gz' * packed}").write_bytes(gzip.compress(content) if packed else content)
    return folder


@pytest.fixture(autouse=True)
def no_other_data_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_machine(tmp_path, monkeypatch)

    def download(*_: object, **__: object) -> Path:
        raise AssertionError("nothing may be downloaded here")

    monkeypatch.setattr(prepare, "download", download)


@pytest.fixture
def small_is_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the small set pass for the whole."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in SMALL.items()}
    monkeypatch.setattr(MNIST, "hashes", hashes)


def test_the_entry_has_the_counts_of_the_paper_and_the_settings_of_grey_digits() -> None:
    info = DATASETS.get("mnist")
    assert (info.train_images, info.test_images, info.train_classes, info.test_classes) == (60_000, 10_000, 10, 10)
    assert (info.family, info.backbone) == ("grey28", "c2f2")


@pytest.mark.usefixtures("small_is_mnist")
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("place", [".", "mnist", "MNIST/raw"])
def test_the_files_are_read_packed_or_not_where_torchvision_puts_them(tmp_path: Path, packed: bool, place: str) -> None:
    write_small(tmp_path / "data" / place, packed=packed)
    dataset = DATASETS.get("mnist").load(DataPaths(tmp_path / "data"))
    rows = torch.tensor([5, 0, 2])
    assert np.array_equal(dataset.train.batch(rows).numpy(), TRAIN[[5, 0, 2], None].astype(np.float32) / 255)
    assert np.array_equal(dataset.test.batch(torch.arange(4)).numpy(), TEST[:, None].astype(np.float32) / 255)
    assert dataset.train.labels.tolist() == TRAIN_CLASSES
    assert dataset.test.labels.tolist() == TEST_CLASSES
    assert (dataset.name, dataset.image_shape) == ("mnist", (1, 28, 28))
    assert dataset.hashes == MNIST.hashes


@pytest.mark.usefixtures("small_is_mnist")
def test_the_status_of_a_set(tmp_path: Path) -> None:
    write_small(tmp_path / "data" / "mnist")
    found = DATASETS.get("mnist").status(DataPaths(tmp_path / "data"))
    assert (found.where, found.train, found.test) == (tmp_path / "data" / "mnist", (6, 4), (4, 2))
    assert (found.decoded, found.hashes) == ("in memory", MNIST.hashes)


@pytest.mark.parametrize("missing", [None, *SMALL])
def test_the_error_about_a_missing_set_or_file_has_a_remedy(tmp_path: Path, missing: str | None) -> None:
    if missing is not None:
        (write_small(tmp_path / "data") / f"{missing}.gz").unlink()
    with pytest.raises(MissingDataError) as caught:
        DATASETS.get("mnist").load(DataPaths(tmp_path / "data"))
    for part in ("'mnist'", "four .gz files", "--data-root", "$RBDML_DATA", "`rbdml data prepare mnist`"):
        assert part in str(caught.value)
    assert "apt-get" not in str(caught.value)


def test_files_of_another_content_are_named(tmp_path: Path) -> None:
    with pytest.raises(RbdmlError, match=r"/train-images-idx3-ubyte\.gz: .*another SHA-256.*rbdml data prepare mnist"):
        DATASETS.get("mnist").load(DataPaths(write_small(tmp_path / "data")))


@pytest.mark.usefixtures("small_is_mnist")
def test_a_torn_file_is_named(tmp_path: Path) -> None:
    path = write_small(tmp_path / "data") / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(RbdmlError, match=r"/t10k-images-idx3-ubyte\.gz: truncated or unreadable"):
        DATASETS.get("mnist").load(DataPaths(tmp_path / "data"))


@pytest.mark.usefixtures("small_is_mnist")
def test_packed_files_are_copied_from_a_folder(tmp_path: Path) -> None:
    given, root = write_small(tmp_path / "given"), tmp_path / "data"
    assert MNIST.prepare(DataPaths(root), DownloadRequest(source=given)) == root / "mnist"
    assert sorted(path.name for path in (root / "mnist").iterdir()) == sorted(f"{name}.gz" for name in SMALL)
    assert not (root / "mnist").is_symlink()
    assert len(MNIST.load(DataPaths(root)).train) == 6


@pytest.mark.usefixtures("small_is_mnist")
@pytest.mark.parametrize("unpacked", [1, 4])
def test_a_folder_with_unpacked_files_is_linked(tmp_path: Path, unpacked: int) -> None:
    given, root = write_small(tmp_path / "given"), tmp_path / "data"
    for name in list(SMALL)[:unpacked]:
        (given / f"{name}.gz").unlink()
        (given / name).write_bytes(SMALL[name])
    assert MNIST.prepare(DataPaths(root), DownloadRequest(source=given)) == root / "mnist"
    assert (root / "mnist").readlink() == given
    assert len(MNIST.load(DataPaths(root)).train) == 6


def test_a_folder_with_some_of_the_files_is_refused_by_the_first_that_is_missing(tmp_path: Path) -> None:
    (write_small(tmp_path / "given") / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(RbdmlError, match=r"/t10k-images-idx3-ubyte\.gz: missing: 'mnist' is made of train-images"):
        MNIST.prepare(DataPaths(tmp_path / "data"), DownloadRequest(source=tmp_path / "given"))
    assert not (tmp_path / "data" / "mnist").exists()


@pytest.mark.usefixtures("small_is_mnist")
def test_files_that_are_there_are_not_fetched(tmp_path: Path) -> None:
    write_small(tmp_path / "data")
    assert MNIST.prepare(DataPaths(tmp_path / "data"), DownloadRequest()) == tmp_path / "data"
    assert len(MNIST.load(DataPaths(tmp_path / "data", download=True)).test) == 4
