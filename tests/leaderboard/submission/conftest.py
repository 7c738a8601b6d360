"""True runs that the tests share; copy what you change."""

from __future__ import annotations

from pathlib import Path

import pytest
from foreign_support import write_source
from submission_support import REGULAR, SMALL, copied, true_run

from robustbench_dml.leaderboard import build as building


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs of seeds 0 and 1."""
    out = tmp_path_factory.mktemp("true") / "runs"
    for seed in ("0", "1"):
        true_run(out, *REGULAR, "--seed", seed)
    return out / "glyphs-mini"


@pytest.fixture(scope="session")
def run(runs: Path) -> Path:
    """The run of seed 0."""
    return _of_seed(runs, 0)


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy of it to alter, without its checkpoint."""
    return copied(run, tmp_path, checkpoint=False)


@pytest.fixture(scope="session")
def second(runs: Path) -> Path:
    """The run of seed 1."""
    return _of_seed(runs, 1)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model from elsewhere: its Python file, and the folder of its record."""
    return _from_elsewhere(tmp_path_factory.mktemp("model"), "build")


@pytest.fixture(scope="session")
def exact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same for a model in float64, whose values are those of any other batch size, on every processor."""
    return _from_elsewhere(tmp_path_factory.mktemp("exact"), "exact")


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """Leaderboards without any entry, in what looks like a checkout."""
    for name in ("leaderboards", "defenses"):
        (tmp_path / "checkout" / name).mkdir(parents=True)
    (tmp_path / "checkout" / "defenses" / "__init__.py").touch()
    return tmp_path / "checkout" / "leaderboards"


def _from_elsewhere(folder: Path, factory: str) -> tuple[Path, Path]:
    source = write_source(folder)
    command = ("evaluate", "--model", f"{source}:{factory}", "--dataset", "glyphs-mini", *SMALL)
    return source, true_run(folder / "runs", *command)


def _of_seed(runs: Path, seed: int) -> Path:
    return next(
        path for path in runs.glob("*/record.json") if f'"seed": {seed},\n  "evaluation"' in path.read_text()
    ).parent


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Tables and figures are tested elsewhere; here it counts that they are asked for."""
    asked: list[Path] = []
    monkeypatch.setattr(building, "build", asked.append)
    return asked
