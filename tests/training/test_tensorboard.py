"""Scalars as TensorBoard itself reads them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from robustbench_dml.training.log import TrainingLog
from robustbench_dml.training.tensorboard import EVENTS, Scalars
from robustbench_dml.training.testing import small_dataset, small_spec
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.progress import Progress
from robustbench_dml.utils.runlog import RunLog, read_log

accumulator: Any = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator",
    reason="TensorBoard is not installed: pip install 'robustbench-dml[tensorboard]'",
)


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of every scalar, by its tag."""
    events = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_a_training_has_the_numbers_of_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustbench_dml.training.log.EVERY", 0.0)
    trainer = Trainer(small_spec("hm-lga-ics"), small_dataset(), device=torch.device("cpu"))
    trainer.observer = TrainingLog(RunLog(tmp_path), scalars=True)
    trainer.run(progress=Progress(quiet=True))
    logged = [event for event in read_log(tmp_path) if event["event"] == "training"]
    assert len(logged) == trainer.spent.iterations >= 3
    scalars = read(tmp_path)
    assert set(scalars) == set(logged[0]) - {"time", "event", "iterations"}
    assert {"loss", "hardness_mean", "hardness_std", "at_destination", "effective_rank", "passes"} <= set(scalars)
    for tag, values in scalars.items():
        assert [step for step, _ in values] == [event["iterations"] for event in logged]
        assert [value for _, value in values] == pytest.approx([event[tag] for event in logged], rel=1e-6, abs=1e-9)


def test_a_resumption_supersedes_repeated_steps(tmp_path: Path) -> None:
    first = Scalars(tmp_path, step=1)
    for step in range(1, 6):
        first.write(step, {"loss": float(step)})
    second = Scalars(tmp_path, step=3)
    second.write(3, {"loss": 30.0})
    assert read(tmp_path) == {"loss": [(1, 1.0), (2, 2.0), (3, 30.0)]}


def test_a_torn_file_costs_its_last_step_alone(tmp_path: Path) -> None:
    scalars = Scalars(tmp_path, step=1)
    scalars.write(1, {"loss": 1.0})
    scalars.write(2, {"loss": 2.0})
    [path] = tmp_path.glob(f"{EVENTS}.*")
    path.write_bytes(path.read_bytes()[:-3])
    assert read(tmp_path) == {"loss": [(1, 1.0)]}


def test_a_number_that_is_none_is_left_out(tmp_path: Path) -> None:
    Scalars(tmp_path, step=1).write(1, {"loss": math.nan, "passes": 3.0})
    assert read(tmp_path) == {"passes": [(1, 3.0)]}


def test_a_folder_that_cannot_be_written_is_no_fault(tmp_path: Path) -> None:
    Scalars(tmp_path / "nowhere", step=1).write(1, {"loss": 1.0})
