from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cli_support import rbdml

import robustbench_dml as rb
from robustbench_dml.runs import api
from robustbench_dml.runs import run as runs
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.training.testing import BACKBONE

SMALL: Any = {
    "training": {"pairs": 16, "eta": 1},
    "evaluation": {"queries": 8, "steps": 1},
}


def test_run_train_evaluate_and_load_agree(tmp_path: Path) -> None:
    """The four ways to one model: the same weights, the same numbers."""
    record = rb.run(
        "hm-lga-ics", "glyphs-mini", budget="300", out=tmp_path, device="cpu", quiet=True, params={"ics": 0.3}, **SMALL
    )
    assert isinstance(record, Record)
    assert record.spec.params["ics"] == 0.3
    folder = tmp_path / "glyphs-mini" / record.digest
    loaded = rb.load_model(folder, device="cpu")  # or its checkpoint.safetensors
    with pytest.raises(
        rb.RbdmlError, match=r"record\.json: not a readable safetensors file .*give a run's folder or its"
    ):
        rb.load_model(folder / "record.json", device="cpu")
    trained = rb.train(
        "hm-lga-ics", "glyphs-mini", budget="300", device="cpu", quiet=True, params={"ics": 0.3}, **SMALL
    )
    for name, weights in trained.model.state_dict().items():
        assert torch.equal(weights, loaded.state_dict()[name])
    loaded.train()
    next(loaded.children()).eval()
    modes = [module.training for module in loaded.modules()]
    found = rb.evaluate(loaded, "glyphs-mini", device="cpu", quiet=True, queries=8, steps=1)
    assert [module.training for module in loaded.modules()] == modes
    assert torch.backends.cudnn.allow_tf32  # as PyTorch starts
    assert found.attacked == record.attacked
    assert found.benign == record.benign
    assert found.scores == record.scores


def test_another_evaluation_of_the_same_training_takes_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings: list[RunSpec] = []
    train = runs.TrainedHere.obtain

    def counted(self: runs.TrainedHere, *args: Any) -> Any:
        trainings.append(self.spec)
        return train(self, *args)

    monkeypatch.setattr(runs.TrainedHere, "obtain", counted)

    def weights(*, queries: int, seed: int = 0, force: bool = False) -> str:
        evaluation = {"queries": queries, "steps": 1}
        words = {**SMALL, "evaluation": evaluation, "seed": seed, "force": force}
        return rb.run(
            "act", "glyphs-mini", budget="200", out=tmp_path, device="cpu", quiet=True, **words
        ).provenance.weights

    first = weights(queries=8)
    assert weights(queries=4) == first
    assert len(trainings) == 1
    assert weights(queries=4, seed=1) != first
    assert len(trainings) == 2
    assert weights(queries=4, force=True) == first
    assert len(trainings) == 3


@pytest.fixture
def specs(monkeypatch: pytest.MonkeyPatch) -> list[RunSpec]:
    """The specs of all runs, instead of the runs."""
    caught: list[RunSpec] = []

    def catch(spec: RunSpec, *_: Any, **__: Any) -> None:
        caught.append(spec)
        raise rb.RbdmlError("reached")

    monkeypatch.setattr(api, "run_spec", catch)
    monkeypatch.setattr(runs, "run", catch)
    return caught


def test_python_and_the_command_line_take_the_same_words(specs: list[RunSpec]) -> None:
    words: dict[str, Any] = {
        "eta": 8,
        "eps": "8/255",
        "queries": 500,
        "attack_steps": 32,
        "solver": "apgd",
        "solver_param": {"restarts": 5},
        "param": {"ics": 0.3},
        "extra_attack": ["ca+w2"],
    }
    tables: dict[str, Any] = {
        "params": {"ics": 0.3},
        "training": {"eta": 8, "eps": 8 / 255},
        "evaluation": {
            "queries": 500,
            "steps": 32,
            "solver": "apgd",
            "solver_params": {"restarts": 5},
            "extra_attacks": ["ca+w2"],
        },
    }
    for keywords in (words, tables):
        with pytest.raises(rb.RbdmlError, match="reached"):
            rb.run("hm-lga-ics", "glyphs-mini", device="cpu", **keywords)
    rbdml(
        *("run", "--defense", "hm-lga-ics", "--dataset", "glyphs-mini", "--device", "cpu", "--eta", "8"),
        *("--eps", "8/255", "--queries", "500", "--attack-steps", "32", "--solver", "apgd"),
        *("--solver-param", "restarts=5", "--param", "ics=0.3", "--extra-attack", "ca+w2"),
    )
    rbdml(
        *("run", "--defense", "hm-lga-ics", "--dataset", "glyphs-mini", "--device", "cpu", "--eta", "8"),
        *("--eps", "8/255", "--queries", "500", "--attack-steps", "32", "--optimiser", "apgd"),
        *("--search", "restarts=5", "--set", "ics=0.3", "--also", "ca+w2"),
    )
    assert len(specs) == 4
    assert all(spec == specs[0] for spec in specs)
    assert specs[0].training.threat.steps == 8 and specs[0].params["ics"] == 0.3


def test_former_names_are_not_in_the_help() -> None:
    text = rbdml("run", "--help").out
    assert "--param" in text and "--extra-attack" in text
    for name in ("--set ", "--also", "--optimiser", "--search"):
        assert name not in text


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(rb.RbdmlError, match="unknown option 'etta': did you mean 'eta'"):
        rb.run("act", "glyphs-mini", etta=8)
    with pytest.raises(rb.RbdmlError, match="unknown option 'query'"):
        rb.evaluate(torch.nn.Identity(), "glyphs-mini", query=8)


def test_any_module_can_be_evaluated() -> None:
    class Pixels(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(images.flatten(1), dim=1)

    found = rb.evaluate(Pixels(), "glyphs-mini", device="cpu", quiet=True, queries=20, steps=2)
    assert found.benign["R@1"] > 25
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
