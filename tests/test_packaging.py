"""The folders at the top are installed inside the package, and nothing is forgotten."""

from __future__ import annotations

import os
import pkgutil
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import robustbench_dml
from robustbench_dml import defenses

ROOT = Path(__file__).parents[1]
SOURCES = [
    *(".ci", "attacks", "benchmarks", "defenses", "docs", "leaderboards", "robustbench_dml", "tests"),
    *("pyproject.toml", "MANIFEST.in", "Makefile", "LICENSE"),
    *("README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md"),
]


def test_every_package_is_listed_for_installation() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = ["robustbench_dml"] + [
        module.name for module in pkgutil.walk_packages(robustbench_dml.__path__, "robustbench_dml.") if module.ispkg
    ]
    assert sorted(listed) == sorted(found)


def test_the_mapped_folders_are_the_ones_at_the_top() -> None:
    assert Path(defenses.__path__[0]).resolve() == ROOT / "defenses"
    for name in ("attacks", "defenses", "leaderboards"):
        link = ROOT / "robustbench_dml" / name
        if not link.exists():
            pytest.skip("a source distribution has no links")
        assert link.is_symlink()
        assert link.resolve() == ROOT / name


def test_source_files_are_short() -> None:
    """A file past 400 lines wants splitting."""
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("robustbench_dml", "attacks", "defenses", "leaderboards", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str], str]:
    """The files of the source distribution and of the wheel, and what setuptools printed."""
    folder = tmp_path_factory.mktemp("built")
    (folder / "source").mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, folder / "source" / name, symlinks=True, ignore=shutil.ignore_patterns("*.pyc")
            )
        else:
            shutil.copy2(ROOT / name, folder / "source")
    program = "from setuptools import build_meta as b; b.build_sdist('..'); b.build_wheel('..')"
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", program],
        cwd=folder / "source",
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [source], [wheel] = folder.glob("*.tar.gz"), folder.glob("*.whl")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    return names, set(zipfile.ZipFile(wheel).namelist()), done.stdout + done.stderr


Built = tuple[set[str], set[str], str]


def test_setuptools_warns_of_nothing(distributions: Built) -> None:
    assert not [line for line in distributions[2].splitlines() if "warn" in line.lower() or "deprecat" in line.lower()]


def test_the_source_distribution_holds_the_tests_with_what_they_need(distributions: Built) -> None:
    kept = [path for name in ("tests", "benchmarks", "docs", "defenses") for path in (ROOT / name).rglob("*")]
    files = {str(path.relative_to(ROOT)) for path in kept if path.is_file() and "__pycache__" not in path.parts}
    assert files <= distributions[0]
    assert {"CITATION.cff", "CHANGELOG.md", "Makefile", "LICENSE"} <= distributions[0]


def test_the_wheel_holds_the_records_of_the_boards_and_the_zoo(distributions: Built) -> None:
    records = {
        f"robustbench_dml/{path.relative_to(ROOT)}"
        for pattern in ("*/records/**/*", "zoo/**/*")
        for path in (ROOT / "leaderboards").glob(pattern)
        if path.is_file()
    }
    assert records and records <= distributions[1]
    code = {str(path.relative_to(ROOT)) for path in (ROOT / "robustbench_dml").glob("*/**/*.py")}
    assert code <= distributions[1]
    assert not [name for name in distributions[1] if name.startswith(("tests/", "benchmarks/"))]
