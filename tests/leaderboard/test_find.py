from __future__ import annotations

from pathlib import Path

import pytest

from robustbench_dml.leaderboard import find as place
from robustbench_dml.leaderboard.find import find_leaderboards
from robustbench_dml.utils.errors import RbdmlError


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with leaderboards, as where the package is from; the current folder is another, empty one."""
    folder = tmp_path / "checkout"
    (folder / "leaderboards").mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(place, "CHECKOUT", folder)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


def test_the_given_folder_comes_first(checkout: Path, tmp_path: Path) -> None:
    Path("leaderboards").mkdir()
    assert find_leaderboards(tmp_path) == tmp_path


def test_the_current_folder_comes_before_the_checkout(checkout: Path) -> None:
    assert find_leaderboards() == checkout / "leaderboards"
    Path("leaderboards").mkdir()
    assert find_leaderboards() == Path("leaderboards")


def test_a_given_folder_that_is_missing_is_refused_by_name(checkout: Path) -> None:
    with pytest.raises(RbdmlError, match=r"^gone: no such folder: .*--boards"):
        find_leaderboards(Path("gone"))


def test_an_installed_package_is_no_checkout(checkout: Path) -> None:
    (checkout / "pyproject.toml").unlink()
    with pytest.raises(RbdmlError, match="--boards"):
        find_leaderboards()


def test_this_project_is_a_checkout() -> None:
    assert (place.CHECKOUT / "leaderboards" / "published" / "published.csv").is_file()
