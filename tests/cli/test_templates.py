from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from robustbench_dml.cli.templates import write_defense
from robustbench_dml.training.testing import check_defense
from robustbench_dml.utils.errors import RbdmlError


def test_the_template_keeps_the_contract_and_is_short(tmp_path: Path) -> None:
    source, test = write_defense("my-own", tmp_path)
    assert len(source.read_text().splitlines()) <= 60
    check_defense(f"{source}:my-own", params={"weight": 0.3})
    compile(test.read_text(), str(test), "exec")


def test_the_written_test_passes(tmp_path: Path) -> None:
    _, test = write_defense("my-tested", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", str(test)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_in_a_checkout_it_goes_where_it_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "defenses").mkdir()
    (tmp_path / "tests" / "defenses").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert write_defense("mine") == [Path("defenses/mine.py"), Path("tests/defenses/test_mine.py")]


@pytest.mark.parametrize("name", ["Mine", "1st", "a--b", "a b", "", "../x", "regular", "class"])
def test_bad_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RbdmlError, match=r"no name for a defense|already"):
        write_defense(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_files_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text("mine")
    with pytest.raises(RbdmlError, match="there already"):
        write_defense("mine", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["test_mine.py"]
