from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from download_site import PAGE
from image_trees import (
    Tree,
    write_cars,
    write_cub,
    write_folder,
)
from prepare_support import Shelf, is_prepared, leftovers, packed_tgz, prepare, serve

from robustbench_dml.datasets.base import DataPaths, DownloadRequest
from robustbench_dml.datasets.status import prepare_dataset
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.utils.errors import RbdmlError


def test_the_address_of_the_file_is_taken(
    root: Path, site: Shelf, birds: Tree, birds_tgz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, site, "cub", birds_tgz)
    site.files["mirror/birds"] = site.files.pop("CUB_200_2011.tgz")
    prepare("cub", root, DownloadRequest(urls=(site.url("mirror/birds"),)))
    assert site.paths == ["mirror/birds"]
    is_prepared("cub", root, birds)
    assert not list(root.rglob("*.tgz*"))  # the archive is not kept beside what it held


def test_the_address_of_a_folder_is_that_of_the_file_in_it(
    root: Path, site: Shelf, birds: Tree, birds_tgz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, site, "cub", birds_tgz)
    prepare("cub", root, DownloadRequest(urls=(site.url(""),)))
    assert site.paths == ["CUB_200_2011.tgz"]
    is_prepared("cub", root, birds)


@pytest.mark.parametrize("slash", ["", "/"])
def test_several_files_come_from_the_address_of_their_folder(
    root: Path, site: Shelf, published_cars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slash: str
) -> None:
    serve(monkeypatch, site, "cars", published_cars / "car_ims.tgz", published_cars / "cars_annos.mat")
    site.files = {f"deep/er/{name}": content for name, content in site.files.items()}
    prepare("cars", root, DownloadRequest(urls=(site.url(f"deep/er{slash}"),)))
    assert site.paths == ["deep/er/car_ims.tgz", "deep/er/cars_annos.mat"]
    is_prepared("cars", root, write_cars(tmp_path / "compared"))
    assert sorted(path.name for path in (root / "cars").iterdir()) == ["car_ims", "cars_annos.mat"]


def test_without_an_address_the_known_server_is_asked(
    root: Path, site: Shelf, birds: Tree, birds_tgz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, site, "cub", birds_tgz, known=True)
    prepare("cub", root, DownloadRequest())
    assert site.paths == ["CUB_200_2011.tgz"]
    is_prepared("cub", root, birds)


def test_the_next_mirror_is_asked_after_a_failure(
    root: Path, site: Shelf, birds: Tree, birds_tgz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, site, "cub", birds_tgz)
    prepare("cub", root, DownloadRequest(urls=(site.url("none/"), site.url(""))))
    assert site.paths == ["none/CUB_200_2011.tgz", "CUB_200_2011.tgz"]
    is_prepared("cub", root, birds)


def test_a_file_of_another_digest_is_refused_and_not_kept(
    root: Path, site: Shelf, birds_tgz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, site, "cub", birds_tgz)
    site.files["CUB_200_2011.tgz"] = birds_tgz.read_bytes()[:-1] + b"x"
    with pytest.raises(RbdmlError, match=r"CUB_200_2011\.tgz could not be downloaded: .* and not md5:"):
        prepare("cub", root, DownloadRequest(urls=(site.url(""),)))
    assert leftovers(root) == []
    assert not (root / "cub").exists()


def test_a_download_that_broke_off_is_gone_on_with_by_the_next_call(
    root: Path, site: Shelf, birds: Tree, birds_tgz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, site, "cub", birds_tgz)
    site.cut = 500
    with pytest.raises(RbdmlError, match=r"1,500 bytes that arrived are kept and the same command goes on from there"):
        prepare("cub", root, DownloadRequest(urls=(site.url(""),)))
    assert not (root / "cub").exists()
    site.cut = None
    site.asked.clear()
    prepare("cub", root, DownloadRequest(urls=(site.url(""),)))
    assert site.asked == ["bytes=1500-"]
    is_prepared("cub", root, birds)
    assert not list(root.rglob("*.part*"))


def test_a_file_that_has_come_is_not_fetched_again_for_the_sake_of_the_next(
    root: Path, site: Shelf, published_cars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, site, "cars", published_cars / "car_ims.tgz", published_cars / "cars_annos.mat")
    annotations = site.files.pop("cars_annos.mat")
    with pytest.raises(RbdmlError, match=r"cars_annos\.mat could not be downloaded: .*404"):
        prepare("cars", root, DownloadRequest(urls=(site.url(""),)))
    site.files["cars_annos.mat"] = annotations
    site.paths.clear()
    prepare("cars", root, DownloadRequest(urls=(site.url(""),)))
    assert site.paths == ["cars_annos.mat"]


def test_a_web_page_is_refused(root: Path, site: Shelf, birds_tgz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, site, "cub", birds_tgz)
    site.files["CUB_200_2011.tgz"], site.content_type = PAGE, "text/html"
    with pytest.raises(RbdmlError, match=r"answered with a web page instead of the file.*--from"):
        prepare("cub", root, DownloadRequest(urls=(site.url(""),)))
    assert leftovers(root) == []


def test_an_archive_of_another_layout_is_refused_and_nothing_is_left(root: Path, tmp_path: Path) -> None:
    archive = packed_tgz(tmp_path / "CUB_200_2011.tgz", other=write_folder(tmp_path / "other").root)
    with pytest.raises(RbdmlError, match=r"unpacked is not 'cub' in its official layout .*: check the archive"):
        prepare("cub", root, DownloadRequest(source=archive))
    assert list(root.iterdir()) == []


def test_a_file_that_is_no_archive_is_refused_and_nothing_is_left(root: Path, tmp_path: Path) -> None:
    (tmp_path / "CUB_200_2011.tgz").write_text("not an archive")
    with pytest.raises(RbdmlError, match=r"not 'cub' in its official layout"):
        prepare("cub", root, DownloadRequest(source=tmp_path / "CUB_200_2011.tgz"))
    assert list(root.iterdir()) == []


def test_half_an_archive_is_refused_and_nothing_is_left(root: Path, birds_tgz: Path) -> None:
    birds_tgz.write_bytes(birds_tgz.read_bytes()[: birds_tgz.stat().st_size // 2])
    with pytest.raises(RbdmlError, match=r"CUB_200_2011\.tgz is damaged or incomplete"):
        prepare("cub", root, DownloadRequest(source=birds_tgz))
    assert list(root.iterdir()) == []


def test_leftovers_of_a_killed_call_are_removed(root: Path, birds: Tree, birds_tgz: Path) -> None:
    (root / ".cub.new" / ".part0").mkdir(parents=True)
    (root / ".cub.new" / "old").touch()
    (root / "cub").mkdir()
    prepare("cub", root, DownloadRequest(source=birds_tgz))
    assert [path.name for path in root.iterdir()] == ["cub"]
    assert [path.name for path in (root / "cub").iterdir()] == ["CUB_200_2011"]
    is_prepared("cub", root, birds)


def test_a_set_that_is_there_is_not_fetched(
    root: Path, site: Shelf, birds_tgz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, site, "cub", birds_tgz)
    tree = write_cub(root / "CUB_200_2011")
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    for request in (DownloadRequest(urls=(site.url(""),)), DownloadRequest(source=birds_tgz), DownloadRequest()):
        assert prepare("cub", root, request) == tree.root
    assert site.paths == []
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == times


@pytest.mark.parametrize("kind", ["archive", "folder", "url"])
def test_a_target_that_cannot_be_written_is_named(
    root: Path, site: Shelf, birds: Tree, birds_tgz: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    serve(monkeypatch, site, "cub", birds_tgz)
    root.write_text("a file where the folder should be")
    orders = {
        "archive": DownloadRequest(source=birds_tgz),
        "folder": DownloadRequest(source=birds.root),
        "url": DownloadRequest(urls=(site.url(""),)),
    }
    with pytest.raises(RbdmlError, match=r"cannot write to .*/data/?.*: name another folder by --data-root or"):
        prepare_dataset("cub", DataPaths(root / "deeper"), orders[kind])
    assert site.paths == []


def test_a_source_that_is_not_there_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(RbdmlError, match=r"/none\.tgz: no such file or folder: give --from the archive or"):
        prepare("cub", root, DownloadRequest(source=tmp_path / "none.tgz"))


def test_without_a_data_folder_the_first_one_of_the_user_is_the_target(
    tmp_path: Path, birds_tgz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = DATASETS.get("cub").prepare
    assert way is not None
    assert way(DataPaths(), DownloadRequest(source=birds_tgz)).is_relative_to(tmp_path / "cache" / "data" / "cub")
    monkeypatch.setenv("RBDML_DATA", str(tmp_path / "named"))
    assert way(DataPaths(), DownloadRequest(source=birds_tgz)).is_relative_to(tmp_path / "named" / "cub")


def test_a_prepared_set_is_checked_and_decoded(root: Path, birds: Tree, birds_tgz: Path) -> None:
    found = prepare_dataset("cub", DataPaths(root), DownloadRequest(source=birds_tgz))
    assert (found.where, found.decoded) == (root / "cub" / "CUB_200_2011", "kept")
    assert (found.train, found.test) == ((len(birds.train), 2), (len(birds.test), 2))
    assert dict(found.hashes) == dict(DATASETS.get("cub").load(DataPaths(root)).hashes)
    assert prepare_dataset("cub", DataPaths(root, cache=False), DownloadRequest()).where == found.where


def test_a_set_in_another_data_folder_is_taken_where_nothing_is_asked_for(
    root: Path, tmp_path: Path, birds: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RBDML_DATA", str(birds.root.parent))
    assert prepare_dataset("cub", DataPaths(root), DownloadRequest()).where == birds.root
    assert not root.exists()


def test_a_set_with_a_damaged_image_is_prepared_by_mending_the_image(root: Path, birds: Tree, birds_tgz: Path) -> None:
    prepare("cub", root, DownloadRequest(source=birds_tgz))
    broken = root / "cub" / "CUB_200_2011" / birds.test[1][0]
    broken.write_bytes(b"x")
    with pytest.raises(RbdmlError, match=rf"{broken}: cannot be read as an image"):
        prepare_dataset("cub", DataPaths(root), DownloadRequest())
    shutil.copyfile(birds.root / birds.test[1][0], broken)
    assert prepare_dataset("cub", DataPaths(root), DownloadRequest()).decoded == "kept"


def test_a_folder_of_the_user_is_only_decoded(tmp_path: Path) -> None:
    write_folder(tmp_path / "mine")
    name = f"folder:{tmp_path / 'mine'}"
    assert prepare_dataset(name, DataPaths(), DownloadRequest()).decoded == "kept"
    for request in (DownloadRequest(urls=("http://127.0.0.1:9/",)), DownloadRequest(source=tmp_path)):
        with pytest.raises(RbdmlError, match=rf"'{name}' is not to be had from elsewhere: leave --from and --url out"):
            prepare_dataset(name, DataPaths(), request)
