"""The tutorial, executed on the tests' small data set: its file, its commands, and the lines of output it shows."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from cli_support import rbdml

from robustbench_dml.spec.registry import DEFENSES

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"


def blocks(kind: str) -> list[str]:
    """The code blocks of a kind."""
    return re.findall(rf"```{kind}\n(.*?)```", TUTORIAL.read_text(), re.S)


@pytest.mark.filterwarnings("ignore:.*")
def test_the_tutorial_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "harder.py").write_text(blocks("python")[0])
    DEFENSES._entries.pop("harder", None)  # of another page
    digest = "DIGEST"
    try:
        for step in "".join(blocks("console")).split("$ ")[1:]:
            command, *expected = re.sub(r"\bglyphs\b", "glyphs-mini", step).strip().splitlines()
            name, *words = shlex.split(command.replace("DIGEST", digest))
            if name != "rbdml":
                subprocess.run([name, *words], check=True)
                continue
            more = ("--device", "cpu", "--protocol", "radius") if words[0] == "run" else ()
            answer = rbdml(*words, *more)
            assert answer.code == 0, answer.err
            shown = {" ".join(line.split()) for line in re.sub(r"\b[0-9a-f]{16}\b", "DIGEST", answer.out).splitlines()}
            assert {" ".join(line.split()) for line in expected} <= shown
            digest = (re.findall(r"\b[0-9a-f]{16}\b", answer.out) or [digest])[0]
        assert (tmp_path / "mine" / "defenses" / "harder.py").is_file()
        assert (tmp_path / "mine" / "leaderboards" / "index.html").is_file()
    finally:
        DEFENSES._entries.pop("harder", None)
