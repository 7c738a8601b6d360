"""Commands that compute nothing import no PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from robustbench_dml.cli.catalogue import KINDS

HEAVY = ("torch", "sklearn", "scipy", "pandas", "matplotlib")
PLUGIN = """
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml import register_defense
from robustbench_dml.defenses.regular import Regular

Images = Tensor | None
DTYPES = {torch.float32: 4}


class Layer(nn.Module):
    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return F.relu(images)


@dataclass(kw_only=True)
class Plugged(Regular):
    scale: float = 2.0


for number in range(3):
    register_defense(f"plugged-{number}", summary=SUMMARY, paper="none", scale=float(number))(Plugged)
"""


def answer(*words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The answer of a new process, with the modules of a folder beside the project's."""
    path = [] if folder is None else [f"import sys; sys.path.insert(0, {str(folder)!r})"]
    program = "; ".join([*path, "from robustbench_dml.cli.main import main", "main()"])
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-c", program, *words], capture_output=True, text=True, check=False
    )


def imported(process: subprocess.CompletedProcess[str]) -> set[str]:
    lines = process.stderr.splitlines()
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines if line.startswith("import time:")}


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["--help"], 0, "leaderboard"),
        (["run", "--help"], 0, "--extra-attack"),
        (["sweep", "run", "--help"], 0, "--retries"),
        (["data", "prepare", "--help"], 0, "--from"),
        (["inspect", "hardness", "--help"], 0, "--batches"),
        (["compare", "--help"], 0, "--published"),
        (["run", "--defense", "act", "--dataset", "glyphs-mini", "--epss", "1"], 2, "'--epss'"),
        (["rnu"], 2, "'rnu'"),
        *((["list", kind], 0, "name ") for kind in KINDS),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_answers_without_pytorch(words: list[str], code: int, part: str) -> None:
    process = answer(*words)
    assert process.returncode == code
    assert part in process.stdout + process.stderr
    assert not imported(process) & set(HEAVY)


LIGHT = """
import json, sys
from robustbench_dml.cli.listing import light_rows

rows = {kind: light_rows(kind) for kind in sys.argv[1:]}
assert type(sys.modules["torch"]).__name__ == "StandIn"
print(json.dumps(rows))
"""
FULL = """
import json, sys
from robustbench_dml.report.catalogue import describe

print(json.dumps({kind: describe(kind) for kind in sys.argv[1:]}))
"""


def test_lists_are_the_same_without_pytorch() -> None:
    light, full = (
        json.loads(subprocess.run([sys.executable, "-c", text, *KINDS], capture_output=True, check=True).stdout)
        for text in (LIGHT, FULL)
    )
    assert light == full
    assert all(full[kind] for kind in KINDS)


def write_plugin(folder: Path, text: str) -> None:
    """A distribution whose entry point is a module with this text."""
    (folder / "plugged.py").write_text(text)
    info = folder / "plugged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[robustbench_dml.defenses]\nplugged = plugged\n")


@pytest.mark.parametrize(
    ("summary", "light"),
    [("'plain'", True), ("'CUDA' if torch.cuda.is_available() else 'plain'", False), ("f'{torch.pi:.1f}'", False)],
)
def test_entry_points_are_listed_with_or_without_pytorch(tmp_path: Path, summary: str, light: bool) -> None:
    write_plugin(tmp_path, PLUGIN.replace("SUMMARY", summary))
    process = answer("list", "defenses", "--json", folder=tmp_path)
    assert process.returncode == 0, process.stderr[-2000:]
    rows = {row["name"]: row for row in json.loads(process.stdout)}
    assert [rows[f"plugged-{number}"]["set by default"] for number in range(3)] == [f"scale={n}.0" for n in range(3)]
    assert ("torch" not in imported(process)) == light


def test_an_entry_point_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    write_plugin(tmp_path, "raise RuntimeError('not today')")
    process = answer("list", "defenses", folder=tmp_path)
    assert process.returncode == 2
    assert "entry point 'plugged' of group 'robustbench_dml.defenses' cannot be loaded" in process.stderr


@pytest.mark.parametrize("module", ["robustbench_dml", "robustbench_dml.cli", "robustbench_dml.cli.main"])
def test_python_m_is_the_command(module: str) -> None:
    process = subprocess.run(
        [sys.executable, "-m", module, "list", "budgets"], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0
    assert process.stdout.startswith("name ")
    usage = subprocess.run([sys.executable, "-m", module, "run", "--help"], capture_output=True, text=True, check=True)
    assert usage.stdout.startswith("Usage: rbdml run [OPTIONS]")
