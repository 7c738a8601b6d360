from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from image_trees import bare_machine, register_tree, write_cub, write_folder

from robustbench_dml.datasets.base import DataPaths, DownloadRequest
from robustbench_dml.datasets.status import fetch_dataset, load_dataset, prepare_dataset
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.registry import BACKBONES, DATASETS
from robustbench_dml.utils.errors import MissingDataError, RbdmlError
from robustbench_dml.utils.locks import exclusive_or_wait
from robustbench_dml.utils.progress import Progress


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_machine(tmp_path, monkeypatch)


class Hearing(Progress):
    heard: list[str] = []  # noqa: RUF012 - a frozen dataclass below

    def say(self, message: str) -> None:
        self.heard.append(message)


def test_a_missing_set_is_got_only_where_it_may_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from robustbench_dml.datasets import cub

    tree = write_cub(tmp_path / "here")
    register_tree(monkeypatch, "cub", tree)
    asked: list[DownloadRequest] = []

    def fetch(name: str, files: object, paths: DataPaths, request: DownloadRequest, *, locate: object) -> Path:
        asked.append(request)
        return Path(shutil.copytree(tmp_path / "here", paths.folders[0] / name))

    monkeypatch.setattr(cub, "prepare_files", fetch)
    with pytest.raises(MissingDataError):
        load_dataset("cub", DataPaths(tmp_path / "data"))
    assert len(load_dataset("cub", DataPaths(tmp_path / "data", download=True)).train) == len(tree.train)
    load_dataset("cub", DataPaths(tmp_path / "data", download=True))
    assert asked == [DownloadRequest()]


def test_a_process_that_waited_finds_the_set_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_tree(monkeypatch, "cub", write_cub(tmp_path / "data" / "cub"))
    fetch_dataset(DATASETS.get("cub"), DataPaths(tmp_path / "data"), DownloadRequest())  # without any network


def test_sets_without_servers_refuse_downloads(tmp_path: Path) -> None:
    write_folder(tmp_path / "mine")
    with pytest.raises(RbdmlError, match="leave --from and --url out"):
        prepare_dataset(f"folder:{tmp_path / 'mine'}", DataPaths(), DownloadRequest(urls=("http://127.0.0.1/",)))


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data" / "sop").mkdir(parents=True)
    (tmp_path / "data" / "sop" / "mine").touch()
    with pytest.raises(RbdmlError, match="holds something that is not 'sop'"):
        prepare_dataset("sop", DataPaths(tmp_path / "data"), DownloadRequest(source=tmp_path))
    assert (tmp_path / "data" / "sop" / "mine").exists()


def test_room_is_checked_for_both_splits_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = write_cub(tmp_path / "data" / "cub")
    register_tree(monkeypatch, "cub", tree)
    size = 3 * 256 * 256
    one = max(len(tree.train), len(tree.test)) * size
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=one))
    with pytest.raises(RbdmlError, match=r"has 0\.00 GB left"):
        load_dataset("cub", DataPaths(tmp_path / "data"))
    assert not list((tmp_path / "cache").rglob("*.u8"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=(len(tree.train) + len(tree.test)) * size))
    load_dataset("cub", DataPaths(tmp_path / "data"))


def test_a_folder_has_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    names = {
        make_spec(defense="regular", dataset=f"folder:{path}", pretrained=False, budget="9").dataset
        for path in ("mine", "./mine", tmp_path / "mine", "mine/../mine")
    }
    assert names == {f"folder:{tmp_path / 'mine'}"}
    assert BACKBONES.get("torchvision:resnet18") is BACKBONES.get("resnet18")


def test_a_record_is_one_folder_below_the_output(tmp_path: Path) -> None:
    write_folder(tmp_path / ("a" * 100) / ("b" * 100) / "mine")
    long = make_spec(
        defense="regular", dataset=f"folder:{tmp_path / ('a' * 100) / ('b' * 100) / 'mine'}", pretrained=False
    )
    assert long.dataset_folder.endswith("b-mine")
    assert len(long.dataset_folder) <= 64
    assert "/" not in long.model_copy(update={"dataset": "../../x"}).dataset_folder
    assert not long.model_copy(update={"dataset": "../../x"}).dataset_folder.startswith(".")


def test_a_home_that_is_none_is_named() -> None:
    with pytest.raises(RbdmlError, match="no such home folder"):
        DATASETS.get("folder:~nobody-here/photographs")
    with pytest.raises(RbdmlError, match="no such home folder"):
        load_dataset("cub", DataPaths(Path("~nobody-here/data")))


def test_a_lock_is_waited_for_only_by_the_second(tmp_path: Path) -> None:
    hearing = Hearing()
    with exclusive_or_wait(tmp_path / "new" / "lock", "it", hearing):
        pass
    with exclusive_or_wait(tmp_path / "new" / "lock", "it", hearing):
        assert hearing.heard == []
