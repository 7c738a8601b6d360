from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from image_trees import (
    Tree,
    register_tree,
    write_cars,
    write_cars_devkit,
    write_cub,
    write_folder,
    write_sop,
)
from prepare_support import is_prepared, leftovers, packed_zip, prepare

from robustbench_dml.datasets.base import DownloadRequest
from robustbench_dml.utils.errors import RbdmlError


def test_birds_come_from_a_tgz(root: Path, birds: Tree, birds_tgz: Path) -> None:
    assert prepare("cub", root, DownloadRequest(source=birds_tgz)) == root / "cub" / "CUB_200_2011"
    assert not (root / "cub").is_symlink()
    is_prepared("cub", root, birds)
    assert birds_tgz.is_file()


def test_products_come_from_a_zip(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = write_sop(tmp_path / "away" / "Stanford_Online_Products")
    register_tree(monkeypatch, "sop", tree)
    archive = packed_zip(tmp_path / "sop.zip", tree.root)  # whatever its name
    assert prepare("sop", root, DownloadRequest(source=archive)) == root / "sop" / "Stanford_Online_Products"
    is_prepared("sop", root, tree)


def test_cars_come_from_a_folder_with_both_published_files(root: Path, published_cars: Path, tmp_path: Path) -> None:
    assert prepare("cars", root, DownloadRequest(source=published_cars)) == root / "cars"
    assert sorted(path.name for path in (root / "cars").iterdir()) == ["car_ims", "cars_annos.mat"]
    assert not (root / "cars").is_symlink()
    is_prepared("cars", root, write_cars(tmp_path / "compared"))
    assert sorted(path.name for path in published_cars.iterdir()) == ["car_ims.tgz", "cars_annos.mat"]


def test_the_first_missing_file_of_a_published_folder_is_named(root: Path, published_cars: Path) -> None:
    (published_cars / "cars_annos.mat").unlink()
    with pytest.raises(RbdmlError, match=r"/cars_annos\.mat: missing: 'cars' is made of car_ims\.tgz, cars_annos\.mat"):
        prepare("cars", root, DownloadRequest(source=published_cars))
    assert leftovers(root) == []


@pytest.mark.parametrize(
    ("name", "write", "folder"),
    [
        ("cub", write_cub, "CUB_200_2011"),
        ("cars", write_cars, "cars196"),  # one of its two published files is there as it is
        ("cars", write_cars_devkit, "stanford_cars"),
        ("sop", write_sop, "Stanford_Online_Products"),
    ],
)
@pytest.mark.parametrize("above", [False, True])
def test_an_unpacked_folder_is_linked_and_not_copied(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    write: Callable[[Path], Tree],
    folder: str,
    above: bool,
) -> None:
    tree = write(tmp_path / "away" / folder)
    register_tree(monkeypatch, name, tree)
    assert prepare(name, root, DownloadRequest(source=tree.root.parent if above else tree.root)) == root / name
    assert (root / name).is_symlink()
    assert (root / name).readlink() == tree.root
    assert [path.name for path in root.iterdir()] == [name]
    is_prepared(name, root, tree)


def test_a_link_that_leads_nowhere_is_replaced(root: Path, birds: Tree) -> None:
    root.mkdir()
    (root / "cub").symlink_to(root / "gone")
    prepare("cub", root, DownloadRequest(source=birds.root))
    is_prepared("cub", root, birds)


def test_a_relative_source_is_linked_by_its_place(
    root: Path, birds: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(birds.root.parent)
    prepare("cub", root, DownloadRequest(source=Path("CUB_200_2011")))
    monkeypatch.chdir(tmp_path)
    is_prepared("cub", root, birds)


def test_a_folder_of_something_else_is_refused(root: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "away")
    with pytest.raises(RbdmlError, match=r"/away: does not hold 'cub' in its official layout: give --from"):
        prepare("cub", root, DownloadRequest(source=tmp_path / "away"))
    assert leftovers(root) == []


def test_a_set_in_another_data_folder_does_not_count(
    root: Path, tmp_path: Path, birds: Tree, birds_tgz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither as the source nor as a reason to leave the target empty."""
    write_cub(tmp_path / "named" / "cub")
    monkeypatch.setenv("RBDML_DATA", str(tmp_path / "named"))
    write_folder(tmp_path / "other")
    with pytest.raises(RbdmlError, match=r"/other: does not hold 'cub'"):
        prepare("cub", root, DownloadRequest(source=tmp_path / "other"))
    assert prepare("cub", root, DownloadRequest(source=birds_tgz)).is_relative_to(root)
