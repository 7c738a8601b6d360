"""What a run is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustbench_dml.spec.lookup import find_defense
from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.spec.source import defense_source, source_hash
from robustbench_dml.utils.files import sha256

ROOT = Path(__file__).resolve().parents[2]
OWN = """
from dataclasses import dataclass
from robustbench_dml.defenses.regular import Regular
from robustbench_dml import register_defense

@register_defense("provenance-own", summary="s", paper="p")
@dataclass(kw_only=True)
class Own(Regular):
    pass
"""


@pytest.mark.parametrize("folder", ["plain", "proj.v1/some.thing/p.k.g"])
def test_the_source_of_a_file_is_the_file_wherever_it_lies(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "own.py"
    path.parent.mkdir(parents=True)
    path.write_text(OWN)
    (path.parent / "__init__.py").touch()
    try:
        entry, _ = find_defense(f"{path}:provenance-own")
        assert defense_source(entry) == source_hash([path])
    finally:
        DEFENSES._entries.pop("provenance-own", None)


def test_a_defense_with_a_folder_of_its_own_has_all_its_files() -> None:
    alone, whole = (defense_source(DEFENSES.get(name)) for name in ("act", "hm-s-lga"))
    assert alone == source_hash([ROOT / "defenses/act.py"])
    assert whole == source_hash(sorted((ROOT / "defenses/hm").glob("*.py")))


def test_names_of_files_count(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("x = 1\n")
    a, b = tmp_path / "a.py", tmp_path / "b.py"
    assert sha256(a) == sha256(b)
    assert source_hash([a]) != source_hash([b])
    assert source_hash([a, b]) != source_hash([b, a])
