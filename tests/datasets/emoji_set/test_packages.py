from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustbench_dml.datasets.emoji_set.packages import PACKAGES, Package, fetch, read
from robustbench_dml.errors import RbdmlError


@pytest.fixture
def package(make_package: Callable[..., Package]) -> Package:
    return make_package("small", {"sun": "<g/>"}, chars={"2600": "sun"}, aliases={"day": {"parent": "sun"}})


@pytest.fixture
def npm(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand in for npm: lists its commands and folders."""
    calls: list[Any] = []

    def run(command: list[str], *, cwd: Path, **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append((command, cwd))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/npm")
    monkeypatch.setattr(subprocess, "run", run)
    return calls


def answer(monkeypatch: pytest.MonkeyPatch, result: subprocess.CompletedProcess[str] | Exception) -> None:
    def run(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(subprocess, "run", run)


def test_the_pinned_packages_are_seven_sets_with_a_hash_and_an_owner() -> None:
    assert len({package.set_name for package in PACKAGES}) == 7
    for package in PACKAGES:
        assert len(bytes.fromhex(package.sha256)) == 32
        assert all(dataclasses.astuple(package))
        assert package.licence_url.startswith("https://")
        assert package.origin.startswith("https://")


def test_a_package_is_read_without_unpacking_it(package: Package, tgz: Path) -> None:
    icons = read(package, tgz)
    assert icons.name == "small"
    assert icons.icons == {"sun": {"body": "<g/>"}}
    assert icons.aliases == {"day": {"parent": "sun"}}
    assert icons.chars == {"2600": "sun"}
    assert icons.box == {"left": 0, "top": 0, "width": 8, "height": 8}
    assert [path.name for path in tgz.iterdir()] == ["fake-small-1.0.0.tgz"]


def test_a_package_may_have_no_code_points(make_package: Callable[..., Package], tgz: Path) -> None:
    assert read(make_package("old", {"sun": "<g/>"}), tgz).chars == {}


def test_a_missing_file_says_how_to_get_it(package: Package, tmp_path: Path) -> None:
    with pytest.raises(RbdmlError, match=r"fake-small-1\.0\.0\.tgz.*`npm pack @fake/small@1\.0\.0`"):
        read(package, tmp_path)


def test_a_source_that_is_a_file_is_refused(package: Package, tgz: Path) -> None:
    with pytest.raises(RbdmlError, match="cannot be read"):
        read(package, tgz / package.file)


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: b"x" + content, lambda _: b""])
def test_a_truncated_or_altered_file_is_refused(package: Package, tgz: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tgz / package.file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RbdmlError, match=r"truncated or altered.*`npm pack @fake/small@1\.0\.0`") as caught:
        read(package, tgz)
    assert "\n" not in str(caught.value)


def test_npm_is_asked_for_the_pinned_version_in_the_folder(package: Package, tmp_path: Path, npm: list[Any]) -> None:
    fetch(package, tmp_path)
    ((command, folder),) = npm
    assert command[:3] == ["/usr/bin/npm", "pack", "@fake/small@1.0.0"]
    assert folder == tmp_path


def test_without_npm_the_other_way_is_named(package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(RbdmlError, match=r"npm.*not installed.*fake-small-1\.0\.0\.tgz.*--from"):
        fetch(package, tmp_path)


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ("npm warn old\nnpm error code ENOTFOUND\nnpm error syscall getaddrinfo\nnpm error   at x\n", "ENOTFOUND"),
        ("npm ERR! code ETARGET\nnpm ERR! notarget No matching version\n", "No matching version"),
        ("Segmentation fault\nsorry\n", "Segmentation fault sorry"),
        ("", "no message"),
    ],
)
def test_what_npm_says_of_its_failure_is_told_in_one_line(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, npm: list[Any], stderr: str, reason: str
) -> None:
    answer(monkeypatch, subprocess.CompletedProcess([], 1, "", stderr))
    with pytest.raises(RbdmlError, match=rf"@fake/small@1\.0\.0.*{reason}.*--from") as caught:
        fetch(package, tmp_path)
    assert "\n" not in str(caught.value)
    assert "at x" not in str(caught.value)


@pytest.mark.parametrize("failure", [subprocess.TimeoutExpired("npm", 600), PermissionError(13, "denied")])
def test_npm_that_hangs_or_cannot_start_is_an_error_for_the_user(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, npm: list[Any], failure: Exception
) -> None:
    answer(monkeypatch, failure)
    with pytest.raises(RbdmlError, match=r"npm pack.*--from"):
        fetch(package, tmp_path)
