from __future__ import annotations

from pathlib import Path

import pytest
import torch

from robustbench_dml.models.checkpoints import load_checkpoint, save_checkpoint, weights_hash
from robustbench_dml.runs import api
from robustbench_dml.spec.weights import surrogate_digits
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.tensors import write_tensors


def test_surrogate_digits_are_those_of_the_loaded_network(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(
        path, api.train("act", "glyphs-mini", budget="40", device="cpu", quiet=True, training={"pairs": 16})
    )
    embedder = load_checkpoint(path, device=torch.device("cpu")).embedder
    assert surrogate_digits(path) == weights_hash(embedder)[:16]


def test_weights_without_their_run_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"weight": torch.zeros(2)}, {"spec": "{}"})
    with pytest.raises(RbdmlError, match="holds weights but not the run they came from"):
        surrogate_digits(path)
    path.write_bytes(b"PK")
    with pytest.raises(RbdmlError, match="not a readable safetensors file"):
        surrogate_digits(path)
