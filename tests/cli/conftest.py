"""A run that the tests share, and a world without data and network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError
from urllib.request import OpenerDirector

import pytest
from cli_support import RUN, Made, rbdml
from matplotlib.figure import Figure
from support import describe

from robustbench_dml.datasets import fashion
from robustbench_dml.runs.record import find_records
from robustbench_dml.training.trainer import Trainer


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    out = tmp_path_factory.mktemp("made") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", describe)
        answer = rbdml(*RUN, "--out", out)
    assert answer.code == 0, answer.err
    [record] = find_records(out)
    return Made(answer, out, record)


@pytest.fixture(autouse=True)
def no_data_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the embedded set is here."""

    def fail(*_: Any, **__: Any) -> NoReturn:
        raise URLError("no network in tests")

    monkeypatch.delenv("RBDML_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RBDML_CACHE", raising=False)
    monkeypatch.setattr(fashion.FASHION_MNIST, "system", (tmp_path / "debian", "apt-get install dataset-fashion-mnist"))
    monkeypatch.setattr(OpenerDirector, "open", fail)


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("nothing is to be trained here")

    monkeypatch.setattr(Trainer, "run", train)
