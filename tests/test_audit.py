"""The audit of dependencies, with a pip-audit that answers what it is told to."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "audit.py"
SOUND = {"name": "first", "version": "1.0", "vulns": []}
HOLE = {"id": "PYSEC-1", "aliases": ["CVE-2026-1"], "fix_versions": ["2.1"]}
OPEN = {"name": "second", "version": "2.0", "vulns": [HOLE]}
UNKNOWN = {"name": "third", "skip_reason": "not on the index"}

Audit = Callable[..., int]


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def audit(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Audit:
    """Runs it; the tool answers `probe` for one package and `whole` for all, and writes down what it was asked."""

    def run(probe: Any, whole: Any = None) -> int:
        tool = tmp_path / "bin" / "pip-audit"
        tool.parent.mkdir()
        asked = tmp_path / "asked.txt"
        answers = {1: json.dumps({"dependencies": probe}) if probe else "", 3: json.dumps({"dependencies": whole})}
        tool.write_text(
            "#!/usr/bin/env python3\nimport sys\n"
            "lines = open(sys.argv[2]).read().split()\n"
            f"open({str(asked)!r}, 'a').write(' '.join(lines) + '\\n')\n"
            f"print({answers!r}[len(lines)])\nsys.exit(1)\n"
        )
        tool.chmod(0o700)
        monkeypatch.setattr(script, "_frozen", lambda: ["first==1.0", "second==2.0", "third==3.0"])
        return int(script.main(["--tools", str(tmp_path)]))

    return run


def test_an_advisory_fails_the_build_and_is_named_with_its_remedy(audit: Audit, capsys: Any, tmp_path: Path) -> None:
    assert audit([SOUND], [SOUND, OPEN, UNKNOWN]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "audit: second 2.0: PYSEC-1: update to 2.1",
        "audit: not known to the service: third",
        "audit: 2 packages, 1 open advisories",
    ]
    assert (tmp_path / "asked.txt").read_text().splitlines() == ["first==1.0", "first==1.0 second==2.0 third==3.0"]


def test_no_advisory_is_no_failure(audit: Audit, capsys: Any) -> None:
    assert audit([SOUND], [SOUND, SOUND, SOUND]) == 0
    assert capsys.readouterr().out == "audit: 3 packages, 0 open advisories\n"


def test_an_accepted_advisory_is_told_with_its_reason(
    audit: Audit, script: ModuleType, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(script.ACCEPTED, "CVE-2026-1", "not called here")
    assert audit([SOUND], [SOUND, OPEN, SOUND]) == 0
    assert "audit: second 2.0: PYSEC-1: accepted: not called here" in capsys.readouterr().out


@pytest.mark.parametrize("probe", [[], [{"name": "first", "skip_reason": "404"}]], ids=["no answer", "not known"])
def test_a_service_out_of_reach_is_told_and_asked_once(
    audit: Audit, capsys: Any, tmp_path: Path, probe: list[dict[str, str]]
) -> None:
    assert audit(probe) == 0
    assert capsys.readouterr().out == "audit: the advisories could not be asked for: nothing was audited\n"
    assert (tmp_path / "asked.txt").read_text() == "first==1.0\n"


def test_a_tool_that_cannot_be_installed_is_told(
    script: ModuleType, capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(tools: Path, **_: Any) -> None:
        (tools / "bin").mkdir(parents=True)
        (tools / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
        (tools / "bin" / "python").chmod(0o700)

    monkeypatch.setattr(script.venv, "create", create)
    assert script.main(["--tools", str(tmp_path / "tools")]) == 0
    assert "nothing was audited" in capsys.readouterr().out


def test_what_is_audited_is_what_is_installed(script: ModuleType) -> None:
    frozen = script._frozen()
    assert any(line.startswith("pytest==") for line in frozen)
    assert not any("+" in line or "robustbench" in line for line in frozen)
