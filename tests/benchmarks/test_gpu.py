"""The summary of `make gpu`. Its steps need a GPU; here it does others."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture
def gpu(folder: None) -> Any:
    return import_module("gpu")


def test_a_step_that_fails_or_takes_too_long_is_a_row_like_the_others(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def steps(device: str, out: Path) -> list[Any]:
        python = [sys.executable, "-c"]
        return [
            gpu.Step("good", [*python, f"print('on {device}')"]),
            gpu.Step("bad", [*python, "raise SystemExit('no such kernel')"]),
            gpu.Step("slow", [*python, "import time; time.sleep(60)"], limit=0.1),
        ]

    monkeypatch.setattr(gpu, "steps", steps)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--out", str(tmp_path)])
    gpu.main()
    text = (tmp_path / "gpu.md").read_text()
    assert text in capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert [(row[0], row[1], row[3]) for row in rows[2:]] == [
        ("good", "ok", "on cpu"),
        ("bad", "code 1", "no such kernel"),
        ("slow", "not done in 0 s", ""),
    ]


def test_the_steps_name_scripts_tests_and_networks_that_exist(gpu: Any, tmp_path: Path) -> None:
    words = [word for step in gpu.steps("cuda", tmp_path) for word in step.words]
    assert all(Path(word).is_file() for word in words if word.endswith(".py"))
    assert sum(step.limit for step in gpu.steps("cuda", tmp_path)) <= 600
    assert all(gpu.BACKBONES.get(name) for name in gpu.NETWORKS)


def test_the_memory_of_a_network_is_measured(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu.peak("c2f2", "fp32", torch.device("cpu")).endswith(" GB")

    def lacks(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(gpu.Trainer, "run", lacks)
    assert gpu.peak("c2f2", "fp32", torch.device("cpu")).startswith("out of memory (CUDA out of memory")
