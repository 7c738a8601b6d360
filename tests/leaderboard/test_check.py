"""A check names the records of a defense after its logic changed, and only then."""

from __future__ import annotations

import ast
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.leaderboard.board import read_boards
from robustbench_dml.leaderboard.build import texts
from robustbench_dml.leaderboard.check import Checked, check_all
from robustbench_dml.leaderboard.entries import read_all
from robustbench_dml.spec.registry import DEFENSES

ROOT = Path(__file__).resolve().parents[2]
SHOWN = ("regular", "est", "act", "hm-lga-ics")


@pytest.fixture(scope="module")
def leaderboards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Leaderboards with one true record of each defense in `SHOWN`."""
    copy = tmp_path_factory.mktemp("small") / "leaderboards"
    entries = [one for one in read_all(ROOT / "leaderboards") if one.record.spec.dataset_folder == "fashion"]
    for name in SHOWN:
        listed = next(one for one in entries if (one.record.spec.label, one.record.spec.seed) == (name, 0))
        shutil.copytree(listed.folder, copy / listed.folder.relative_to(ROOT / "leaderboards"))
    for path, text in texts(read_boards(copy), [], copy).items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())
    return copy


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], str], str], None]:
    """Edits copies of the defenses' files and registers the defenses from there."""

    def edit(change: Callable[[str], str], pattern: str) -> None:
        folder = tmp_path / "defenses"
        shutil.copytree(ROOT / "defenses", folder)
        for path in folder.rglob(pattern):
            path.write_text(change(path.read_text()))
        for name in {info.cls.__module__ for info in DEFENSES}:
            if name.startswith("robustbench_dml.defenses."):  # and not of a file that another test registered
                inner = Path(*name.split(".")[2:]).with_suffix(".py")
                monkeypatch.setattr(sys.modules[name], "__file__", str(folder / inner))

    return edit


def explained(code: str) -> str:
    """The code with comments, another docstring, and imports in reverse order."""
    lines = code.splitlines(keepends=True)
    imports = [node for node in ast.parse(code).body if isinstance(node, ast.Import | ast.ImportFrom)]
    movable = [node for node in imports if getattr(node, "module", "") != "__future__"]
    blocks = ["".join(lines[node.lineno - 1 : node.end_lineno]) for node in movable]
    for node, block in zip(movable, reversed(blocks), strict=True):
        lines[node.lineno - 1] = f"# explained\n{block}"
        lines[node.lineno : node.end_lineno] = [""] * ((node.end_lineno or 0) - node.lineno)
    return "".join(lines).replace('"""', '"""Explained. ', 1) + "# explained\n"


def on_sources(checked: Checked) -> list[str]:
    """The notes, but those on data that is not on this machine."""
    return [note for note in checked.notes if "not at hand" not in note]


def test_comments_docstrings_and_the_order_of_imports_disown_nothing(
    leaderboards: Path, edited: Callable[[Callable[[str], str], str], None]
) -> None:
    before = check_all(leaderboards, DataPaths())
    assert (before.entries, before.problems, on_sources(before)) == (len(SHOWN), (), [])
    edited(explained, "*.py")
    assert check_all(leaderboards, DataPaths()) == before


def test_a_changed_constant_names_the_records_of_its_defense(
    leaderboards: Path, edited: Callable[[Callable[[str], str], str], None]
) -> None:
    wide = 'threat=self.threat.model_copy(update={"alpha": self.threat.alpha * 2})'
    edited(lambda code: code.replace("threat=self.threat", wide), "act.py")
    checked = check_all(leaderboards, DataPaths())
    [digest] = [one.record.digest for one in read_all(leaderboards) if one.record.spec.label == "act"]
    assert checked.problems == ()
    [note] = on_sources(checked)
    assert note.startswith(f"{digest}: the source of 'act' is not the one that the record was made with")
