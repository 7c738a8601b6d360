from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from download_site import serving
from image_trees import (
    Tree,
    bare_machine,
    register_tree,
    write_cars,
    write_cub,
)
from prepare_support import MODULES, Shelf, packed_tgz

from robustbench_dml.datasets import download
from robustbench_dml.datasets.prepare import RemoteFile


@pytest.fixture
def site() -> Iterator[Shelf]:
    with serving(made := Shelf()):
        yield made


@pytest.fixture(autouse=True)
def no_other_data_and_no_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_machine(tmp_path, monkeypatch)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE", 0.0)
    for module in MODULES.values():  # the known servers are not asked by accident
        closed = tuple(RemoteFile(file.name, (), file.digest) for file in module.FILES)
        monkeypatch.setattr(module, "FILES", closed)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def birds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """The unpacked set, away from any data folder."""
    tree = write_cub(tmp_path / "away" / "CUB_200_2011")
    register_tree(monkeypatch, "cub", tree)
    return tree


@pytest.fixture
def birds_tgz(tmp_path: Path, birds: Tree) -> Path:
    return packed_tgz(tmp_path / "CUB_200_2011.tgz", CUB_200_2011=birds.root)


@pytest.fixture
def published_cars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the two files that the authors publish, and nothing else."""
    tree = write_cars(tmp_path / "away" / "cars196")
    register_tree(monkeypatch, "cars", tree)
    folder = tmp_path / "published"
    folder.mkdir()
    packed_tgz(folder / "car_ims.tgz", car_ims=tree.root / "car_ims")
    shutil.copyfile(tree.root / "cars_annos.mat", folder / "cars_annos.mat")
    return folder
