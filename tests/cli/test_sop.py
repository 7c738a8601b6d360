"""The command that the project is known for, on a small tree in the official layout."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cli_support import cost_of, rbdml, refusal, spec_of
from image_trees import register_tree, write_sop
from torch import nn

from robustbench_dml.runs.record import find_records
from robustbench_dml.spec.registry import BACKBONES

RUN = ("run", "--defense", "hm-lga-ics", "--dataset", "sop", "--budget", "quick", "--backbone", "resnet18")


def narrow() -> nn.Module:
    """(B, 3, 224, 224) -> (B, 512), in the place of ResNet-18, which has tests of its own."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, stride=4, padding=3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 512),
    )


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three products to train on and two to test on, in the place of Stanford Online Products."""
    made = write_sop(tmp_path / "data" / "sop", train=(1, 2, 3), test=(4, 5))
    register_tree(monkeypatch, "sop", made)
    monkeypatch.setitem(BACKBONES._entries, "resnet18", replace(BACKBONES.get("resnet18"), build=narrow))
    monkeypatch.setenv("RBDML_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "data"


def test_hm_lga_ics_on_sop_runs_to_a_record(tree: Path, tmp_path: Path) -> None:
    small = ("--pairs", "3", "--attack-steps", "1", "--precision", "auto", "--attack-precision", "auto")
    answer = rbdml(*RUN, "--no-pretrained", *small, "--data-root", tree, "--out", tmp_path / "runs", "--json")
    assert answer.code == 0, answer.err
    [record] = find_records(tmp_path / "runs" / "sop")
    assert json.loads(answer.out)["digest"] == record.digest
    assert (record.spec.dataset, spec_of(record).backbone, spec_of(record).pretrained) == ("sop", "resnet18", None)
    assert spec_of(record).training.batchnorm == "train"
    assert spec_of(record).budget.amount == round(6 * 150 * 9 / 32)  # images x epochs x (published eta + 1) / 32
    assert cost_of(record).passes <= spec_of(record).budget.amount
    assert cost_of(record).spent.iterations > 1
    assert set(record.provenance.dataset_files) == {"train", "test"}
    assert all(0 <= record.benign[name] <= 100 for name in ("R@1", "mAP", "NMI"))


def test_without_the_data_the_command_names_the_download(tmp_path: Path) -> None:
    answer = rbdml(*RUN, "--no-pretrained", "--data-root", tmp_path, "--out", tmp_path / "runs")
    assert "rbdml data prepare sop" in refusal(answer)
    assert not (tmp_path / "runs").exists()


def test_without_a_network_the_pretrained_run_names_both_ways_out(tree: Path, tmp_path: Path) -> None:
    told = refusal(rbdml(*RUN, "--data-root", tree, "--out", tmp_path / "runs"))
    assert "--weights" in told and "--no-pretrained" in told
    assert not (tmp_path / "runs").exists()
