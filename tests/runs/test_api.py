from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import robustbench_dml as rb
from robustbench_dml.runs.record import Record
from robustbench_dml.training.testing import BACKBONE

SMALL: Any = {
    "training": {"pairs": 16, "eta": 1},
    "evaluation": {"queries": 8, "steps": 1},
}


def test_run_train_evaluate_and_load_agree(tmp_path: Path) -> None:
    """The four ways to one model: the same weights, the same numbers."""
    record = rb.run(
        "hm-lga-ics", "fashion-mini", budget="300", out=tmp_path, device="cpu", quiet=True, params={"ics": 0.3}, **SMALL
    )
    assert isinstance(record, Record)
    assert record.spec.params["ics"] == 0.3
    loaded = rb.load_model(tmp_path / "fashion-mini" / record.digest / "checkpoint.safetensors", device="cpu")
    trained = rb.train(
        "hm-lga-ics", "fashion-mini", budget="300", device="cpu", quiet=True, params={"ics": 0.3}, **SMALL
    )
    for name, weights in trained.model.state_dict().items():
        assert torch.equal(weights, loaded.state_dict()[name])
    found = rb.evaluate(loaded, "fashion-mini", device="cpu", quiet=True, queries=8, steps=1)
    assert found.attacked == record.attacked
    assert found.benign == record.benign
    assert found.scores == record.scores


def test_any_module_can_be_evaluated() -> None:
    class Pixels(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(images.flatten(1), dim=1)

    found = rb.evaluate(Pixels(), "fashion-mini", device="cpu", quiet=True, queries=20, steps=2)
    assert found.benign["R@1"] > 50
    assert len(found.attacked) == 10


def test_entries_are_described() -> None:
    for entries in (rb.list_defenses(), rb.list_attacks(), rb.list_datasets(), rb.list_backbones()):
        assert entries
        for entry in (entry for entry in entries if entry.name != BACKBONE):
            assert entry.summary and "\n" not in entry.summary
            assert entry.paper and "\n" not in entry.paper


def test_names_are_registered_once() -> None:
    with pytest.raises(rb.RbdmlError, match="registered twice"):
        rb.register_defense("regular", summary="", paper="")(rb.list_defenses()[0].cls)
