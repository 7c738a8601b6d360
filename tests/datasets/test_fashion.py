from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from robustbench_dml.datasets import fashion, prepare
from robustbench_dml.datasets.base import DataPaths, DownloadRequest
from robustbench_dml.datasets.idx import FILES, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, format_idx
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.progress import Progress

assert fashion.FASHION_MNIST.system is not None
DEBIAN = fashion.FASHION_MNIST.system[0]
SMALL = {
    TRAIN_IMAGES: format_idx(np.arange(6 * 9, dtype=np.uint8).reshape(6, 3, 3)),
    TRAIN_LABELS: format_idx(np.array([0, 0, 1, 1, 2, 2], dtype=np.uint8)),
    TEST_IMAGES: format_idx(np.arange(4 * 9, dtype=np.uint8).reshape(4, 3, 3)),
    TEST_LABELS: format_idx(np.array([0, 0, 1, 1], dtype=np.uint8)),
}


def write_small(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in SMALL.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    return folder


def no_download(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("nothing may be downloaded here")


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data anywhere, an empty home, and no way out to the network."""
    monkeypatch.delenv("RBDML_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(fashion.FASHION_MNIST, "system", (tmp_path / "debian", "apt-get install dataset-fashion-mnist"))
    monkeypatch.setattr(prepare, "download", no_download)


@pytest.fixture
def small_is_fashion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the small set pass for the whole of Fashion-MNIST."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in SMALL.items()}
    monkeypatch.setattr(fashion.FASHION_MNIST, "hashes", hashes)


def test_a_missing_set_names_the_three_ways_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(RbdmlError) as caught:
        fashion.FASHION_MNIST.load(DataPaths(tmp_path))
    for way in ("--data-root", "$RBDML_DATA", "apt-get install dataset-fashion-mnist", "rbdml data prepare fashion"):
        assert way in str(caught.value)


def test_the_asked_folder_comes_before_the_variable_and_that_before_debian(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, named, debian = tmp_path / "asked", tmp_path / "named", tmp_path / "debian"
    monkeypatch.setenv("RBDML_DATA", str(named))
    write_small(debian)
    assert fashion.FASHION_MNIST.find(DataPaths(asked, download=True)) == debian
    write_small(named)
    assert fashion.FASHION_MNIST.find(DataPaths(asked, download=True)) == named
    write_small(asked / "FashionMNIST" / "raw")  # even the last sub-folder of the first root
    assert fashion.FASHION_MNIST.find(DataPaths(asked, download=True)).is_relative_to(asked)
    assert fashion.FASHION_MNIST.find(DataPaths(download=True)) == named


@pytest.mark.parametrize("inside", [".", "fashion-mnist", "fashion", "FashionMNIST/raw"])
def test_a_data_folder_holds_the_files_itself_or_in_a_sub_folder(tmp_path: Path, inside: str) -> None:
    write_small(tmp_path / inside)
    assert fashion.FASHION_MNIST.find(DataPaths(tmp_path)).samefile(tmp_path / inside)


def test_a_tilde_is_the_home_folder(tmp_path: Path) -> None:
    write_small(tmp_path / "home" / "data")
    assert fashion.FASHION_MNIST.find(DataPaths(Path("~/data"))) == tmp_path / "home" / "data"


@pytest.mark.parametrize("missing", FILES)
def test_a_folder_without_all_four_files_is_passed_over(tmp_path: Path, missing: str) -> None:
    (write_small(tmp_path / "asked") / f"{missing}.gz").unlink()
    write_small(tmp_path / "debian")
    assert fashion.FASHION_MNIST.find(DataPaths(tmp_path / "asked")) == tmp_path / "debian"


@pytest.mark.usefixtures("small_is_fashion")
def test_the_found_files_are_loaded(tmp_path: Path) -> None:
    dataset = fashion.FASHION_MNIST.load(DataPaths(write_small(tmp_path)))
    assert (dataset.name, len(dataset.train), len(dataset.test)) == ("fashion", 6, 4)
    assert dataset.hashes == fashion.FASHION_MNIST.hashes


def test_files_of_another_content_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RbdmlError, match=r"SHA-256.*rbdml data prepare"):
        fashion.FASHION_MNIST.load(DataPaths(write_small(tmp_path)))


def test_a_download_to_where_nothing_can_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RbdmlError, match="cannot write"):
        load_dataset("fashion", DataPaths(tmp_path / "file" / "data", download=True))


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the network; list the requested files."""
    asked: list[str] = []

    def fetch(urls: Sequence[str], target: Path, *, digest: str, progress: Progress) -> Path:
        assert all(url.endswith(target.name) for url in urls)
        assert re.fullmatch("md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", digest)
        asked.append(target.name)
        target.write_bytes(gzip.compress(SMALL[target.name.removesuffix(".gz")]))
        return target

    monkeypatch.setattr(prepare, "download", fetch)
    return asked


@pytest.mark.usefixtures("small_is_fashion")
@pytest.mark.parametrize("root", ["asked", "named", "home/.cache/robustbench-dml/data"])
def test_a_download_is_loaded_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetched: list[str], root: str
) -> None:
    target = tmp_path / root
    if root == "named":
        monkeypatch.setenv("RBDML_DATA", str(target))
    paths = DataPaths(target if root == "asked" else None, download=True)
    dataset = load_dataset("fashion", paths)
    assert sorted(fetched) == sorted(f"{name}.gz" for name in FILES)
    assert len(dataset.test) == 4
    assert fashion.FASHION_MNIST.find(DataPaths(target)) == target / "fashion"
    assert [path.name for path in target.iterdir() if not path.name.startswith(".")] == ["fashion"]
    fetched.clear()
    load_dataset("fashion", paths)
    assert fetched == []


@pytest.mark.usefixtures("small_is_fashion")
def test_the_files_can_be_taken_from_a_folder(tmp_path: Path) -> None:
    given, root = write_small(tmp_path / "given"), tmp_path / "root"
    fashion.FASHION_MNIST.prepare(DataPaths(root), DownloadRequest(source=given))
    assert len(fashion.FASHION_MNIST.load(DataPaths(root)).train) == 6
    found = fashion.FASHION_MNIST.status(DataPaths(root))
    assert (found.train, found.test) == ((6, 3), (4, 2))


def test_the_whole_set_has_its_registered_size(monkeypatch: pytest.MonkeyPatch) -> None:
    if not DEBIAN.is_dir():
        pytest.skip(f"Fashion-MNIST is not in {DEBIAN}: `apt-get install dataset-fashion-mnist`")
    monkeypatch.setattr(fashion.FASHION_MNIST, "system", (DEBIAN, ""))
    info = DATASETS.get("fashion")
    dataset = info.load(DataPaths())
    assert (len(dataset.train), len(dataset.test)) == (info.train_images, info.test_images)
    assert dataset.image_shape == (1, 28, 28)
