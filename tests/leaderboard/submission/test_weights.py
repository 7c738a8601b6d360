"""The checkpoint of a record and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from submission_support import copied, edit, renamed

from robustbench_dml.leaderboard.submission.weights import claimed_model
from robustbench_dml.models.checkpoints import load_checkpoint, weights_hash
from robustbench_dml.runs.record import CHECKPOINT_FILE, read_record
from robustbench_dml.utils.errors import RbdmlError

CPU = torch.device("cpu")


def test_its_own(run: Path) -> None:
    model = claimed_model(read_record(run), run / CHECKPOINT_FILE, CPU)
    assert weights_hash(model) == weights_hash(load_checkpoint(run / CHECKPOINT_FILE, device=CPU).embedder)
    assert not model.training


def test_under_another_evaluation_it_is_still_its_own(run: Path, tmp_path: Path) -> None:
    evaluation = read_record(run).spec.evaluation.model_copy(update={"seed": 3})
    claimed_model(read_record(renamed(copied(run, tmp_path), evaluation=evaluation)), run / CHECKPOINT_FILE, CPU)


def test_other_weights(run: Path, second: Path) -> None:
    with pytest.raises(RbdmlError, match=r"weights [0-9a-f]{16}, and the record is of [0-9a-f]{16}"):
        claimed_model(read_record(run), second / CHECKPOINT_FILE, CPU)


def test_the_weights_of_another_spec(run: Path, tmp_path: Path) -> None:
    copy = renamed(copied(run, tmp_path), defense="madry", params={"sampler": "R"})
    with pytest.raises(RbdmlError, match=f"of another run .{run.name}"):
        claimed_model(read_record(copy), run / CHECKPOINT_FILE, CPU)


def test_another_cost(run: Path, tmp_path: Path) -> None:
    copy = copied(run, tmp_path)
    edit(copy, lambda data: data["cost"]["spent"].update(seconds=0.5))
    with pytest.raises(RbdmlError, match="its training cost or ended otherwise"):
        claimed_model(read_record(copy), copy / CHECKPOINT_FILE, CPU)


def test_truncated(run: Path, tmp_path: Path) -> None:
    path = copied(run, tmp_path) / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RbdmlError, match="not a readable safetensors file"):
        claimed_model(read_record(run), path, CPU)


def test_of_a_model_from_elsewhere(run: Path, model: tuple[Path, Path]) -> None:
    record = read_record(model[1])
    weights = read_record(run).provenance.weights
    record = record.model_copy(update={"provenance": record.provenance.model_copy(update={"weights": weights})})
    with pytest.raises(RbdmlError, match="the record is of a model from elsewhere"):
        claimed_model(record, run / CHECKPOINT_FILE, CPU)
