"""The folders at the top are installed inside the package, and nothing is forgotten."""

from __future__ import annotations

import pkgutil
import tomllib
from pathlib import Path

import robustbench_dml
from robustbench_dml import defenses

ROOT = Path(__file__).parents[1]


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
