"""Giving the command `rbdml` within the tests' own process."""

from __future__ import annotations

import io
import re
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from robustbench_dml.cli.main import main
from robustbench_dml.runs.folder import LOCKS
from robustbench_dml.runs.record import CHECKPOINT_FILE, Cost, Record
from robustbench_dml.spec.schema import RunSpec

SETTINGS = ("--budget", "200", "--pairs", "16", "--queries", "8", "--attack-steps", "1", "--device", "cpu")
RUN = ("run", "--defense", "regular", "--dataset", "glyphs-mini", *SETTINGS)
HM = ("run", "--defense", "hm-lga-ics", "--dataset", "glyphs-mini", *SETTINGS)
FORECAST = re.compile(r"^rbdml: (training .* passes|evaluation at most .* passes).*\n", re.MULTILINE)
PLOTS = tuple(f"{name}.{kind}" for name in ("overview", "efficiency", "tradeoff", "profile") for kind in ("png", "svg"))


@dataclass(frozen=True)
class Answer:
    """The output and the exit code of a command."""

    code: object
    out: str
    err: str

    @property
    def told(self) -> str:
        """Standard error without the line in which a run states its cost."""
        return FORECAST.sub("", self.err, count=1)


def rbdml(*arguments: str | Path, terminal: bool = False) -> Answer:
    """Give the command in this process: a process of its own would import PyTorch anew."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["rbdml", *map(str, arguments)])
        patch.setattr(err, "isatty", lambda: terminal)
        try:
            main()
        except SystemExit as stop:
            code = stop.code
    return Answer(code, out.getvalue(), err.getvalue())


def refusal(answer: Answer) -> str:
    """The one line in which bad input is refused."""
    assert answer.code == 2
    assert answer.out == ""
    assert answer.told.startswith("rbdml: ")
    assert answer.told.endswith("\n")
    assert answer.told.count("\n") == 1
    return answer.told


def files_below(folder: Path) -> list[Path]:
    """All files but locks: an empty one stays where data was to be got, for others may be waiting for it."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


def nothing_below(folder: Path) -> bool:
    """No file, and no folder that was meant to hold one, but the folder of locks."""
    return {path.name for path in folder.glob("*")} <= {LOCKS}


@dataclass(frozen=True)
class Made:
    """The run that the tests share. Copy it before you change it."""

    answer: Answer
    out: Path
    record: Record

    @property
    def folder(self) -> Path:
        return self.out / "glyphs-mini" / self.record.digest

    @property
    def checkpoint(self) -> Path:
        return self.folder / CHECKPOINT_FILE

    def copy(self, to: Path) -> Path:
        return Path(shutil.copytree(self.out, to))


def cost_of(record: Record) -> Cost:
    """The training cost of a run of this project."""
    assert record.cost is not None
    return record.cost


def spec_of(record: Record) -> RunSpec:
    """The spec of one of our own runs."""
    assert isinstance(record.spec, RunSpec)
    return record.spec
